"""The answer of a sweep: the best point, its uncertainty, and whether the paper's claims hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.evaluation.records import bounds_of, digits_of, number
from harness.experiments.axis import Number
from harness.experiments.claims import Best, Claim, Wider, of_paper
from harness.experiments.objectives import Objective
from harness.system.texts import alike
from reports.claims.table import tested
from reports.claims.verdicts import Ruling, judge_all
from reports.results import protocol_of
from reports.statistics import intervals
from reports.sweep.points import TriedPoint, TriedPoints
from reports.tables import markdown

PAPER = {"rfd": ("rfid", "rFID"), "gfd": ("gfid", "gFID")}
STATES = ("active", "partly", "collapsed", "never active")


@dataclass(frozen=True)
class Answer:
    """Conclusions from the points of a sweep, in comparison with the paper."""

    points: TriedPoints

    @property
    def seeds(self) -> int:
        """The number of seeds per point."""
        return self.points.request.seeds

    def lines(self) -> list[str]:
        """Sentences on the best point for every objective, its uncertainty, and the verdicts on the paper's claims."""
        if not self.points.done:
            return ["No trial is finished."]
        sentences = []
        objectives = self.points.request.objectives
        if len(objectives) > 1:
            front = "; ".join(self.points.front)
            sentences.append(
                f"Pareto front (no other point is better in one objective and at least as good in the others): {front}."
            )
        asks_for_range = any(isinstance(claim, Wider) for claim in self.points.request.study.claims)
        for objective in objectives:
            if asks_for_range and objective.metric == "kl" and len(self.points.axes) == 1:  # which falls in any model
                sentences += [self.range_of(row, points) for row, points in self.points.by_row.items()]
                continue
            sentences += [self.optimum(objective, points) for points in self.points.by_row.values()]
            sentences += self.noise(objective)
        sentences += self.verdicts()
        for objective in objectives:
            if curve := self.paper_curve(objective):
                best = objective.best(curve.values())
                at = alike([f"{at:g}" for at, value in curve.items() if value == best])
                sentences.append(f"{self.paper_title(objective)} is best at {at} ({best:g}).")
        return sentences

    def optimum(self, objective: Objective, points: Sequence[TriedPoint]) -> str:
        """Sentences on the best of points, and on the other points that may be the optimum."""
        best = self.points.best(objective, points)
        digits = self._digits(objective, best)
        value = number(best.mean(objective), digits)
        first = [point for point in points if number(point.mean(objective), digits) == value]
        if len(first) == 1:
            value = intervals.shown(best.objective_values(objective), digits, bounds_of(objective.metric))
        names = alike([f"**{self.points.name_of(point.location)}**" for point in first])
        text = f"**{objective.title}** is best at {names}: {value}, of {len(points)} points."
        if self.seeds == 1:
            return f"{text} One seed cannot tell the range of the optimum."
        candidates, method = self.points.candidates(objective, points)
        over = f"over {self.seeds} seeds ({method})"
        others = "; ".join(self.points.name_of(point.location) for point in candidates if point not in first)
        if not others:
            return f"{text} All other points are worse {over}."
        ranges = []
        for k, axis in enumerate(self.points.axes):
            values = [point.location.values[k][1] for point in candidates]
            ranges.append(f"{axis.name} from {min(values):.6g} to {max(values):.6g}")
        return (
            f"{text} These points cannot be distinguished from it {over}: {others}. So any of them may be the "
            f"optimum: {', '.join(ranges)}."
        )

    def range_of(self, row: str, points: Sequence[TriedPoint]) -> str:
        """A sentence on the values at which the latents of a row are active in most seeds, and on the others."""
        places: dict[str, list[str]] = {}
        for point in sorted(points, key=lambda point: point.coordinate):
            (state, count), *others = Counter(r.status for r in point.results).most_common()
            of_most = f" ({count} of {len(point.results)} seeds)" if others else ""
            places.setdefault(state, []).append(f"{point.coordinate:.6g}{of_most}")
        axis = self.points.axes[0].name
        told = [f"{state} at {', '.join(values)}" for state, values in places.items()]
        return f"**{row}**, by {axis}: {'; '.join(told)}."

    def _digits(self, objective: Objective, point: TriedPoint) -> int:
        split = objective.split(point.results[0].experiment)
        return digits_of(objective.metric, protocol_of(point.results, objective.metric, split, objective.stage))

    def noise(self, objective: Objective) -> list[str]:
        """A sentence on how much seeds differ, in comparison with points."""
        noise = self.points.noise(objective)
        if noise is None:
            return []
        means = [point.mean(objective) for point in self.points.done]
        return [
            f"Between seeds of one point {objective.title} has a standard deviation of {noise:.3g}, without what a "
            f"seed does to all {len(means)} points alike. The means of the points span {max(means) - min(means):.3g}."
        ]

    def verdicts(self) -> list[str]:
        """A line for every source: whether its claims hold here."""
        request, of_sources = self.points.request, dict[str, list[str]]()
        for claim in request.study.claims:
            of_sources.setdefault(claim.source, []).append(self.verdict(claim))
        here = f", tested here on {', '.join(request.changed)}" if request.changed and not request.fields else ""
        return [
            f"Claim{'s' * (len(told) > 1)}{' of the paper' * of_paper(source)} ({source}){here}: {' '.join(told)}"
            for source, told in of_sources.items()
        ]

    def verdict(self, claim: Claim) -> str:
        """A claim of the paper, and a sentence on whether it holds here."""
        request, text = self.points.request, f"{claim.says}."
        if isinstance(claim, Best | Wider) and (len(request.axes) > 1 or request.axes[0].field != claim.field):
            return f"{text} **Not tested**: this sweep has another space."
        if request.fields:
            return f"{text} **Not tested**: this sweep has other fields."
        ruling = next(r for r in self.rulings if r.claim == claim)
        n = ruling.alone.n
        over = f" over {n} {'seed' if n == 1 else 'seeds'}" if n else ""
        reason = f" ({ruling.because})" if ruling.because else ""
        p = f"; {told}" if (told := tested(ruling)) else ""
        return f"{text} **{ruling.verdict.capitalize()}**{reason}{over}: {ruling.alone.here}{p}."

    @cached_property
    def rulings(self) -> list[Ruling]:
        """The rulings on the study's claims."""
        return judge_all(self.points.request.study.claims, self.points.results, {})

    def paper_curve(self, objective: Objective) -> dict[Number, float]:
        """The paper's numbers over the only axis; empty if it has none."""
        request = self.points.request
        changed = request.space or request.fields or len(self.points.axes) > 1
        if changed or objective.metric not in PAPER or not request.study.published:
            return {}
        rows, (column, _) = request.printed, PAPER[objective.metric]
        return {
            at: float(rows[name][column])
            for at, name in request.study.published.items()
            if name in rows and rows[name][column]
        }

    def paper_title(self, objective: Objective) -> str:
        """The title of the paper's curve."""
        return f"{PAPER[objective.metric][1]} of the paper's Table {self.points.request.study.published_table}"

    def ranges(self) -> str:
        """The table of values by row and status of the latents, with the width of the active range."""
        lines = []
        for row, points in self.points.by_row.items() if len(self.points.axes) == 1 else ():
            values: dict[str, list[str]] = {}
            for point in points:
                for state, seeds in Counter(r.status for r in point.results).items():
                    share = "" if seeds == self.seeds else f" ({seeds} of {self.seeds} seeds)"
                    values.setdefault(state, []).append(f"{point.coordinate:.6g}{share}")
            line = {"row": row} | {state: ", ".join(values.get(state, [])) or "–" for state in STATES}
            lines.append(line | {"width of the active range": self._width(points)})
        return markdown(lines) if lines else ""

    def _width(self, points: Sequence[TriedPoint]) -> str:
        """The distance from the smallest to the largest value at which latents are active, with its 95 % t interval.

        On a logarithmic axis it is a factor, and the interval is that of its logarithm. No width exceeds the grid's.
        """
        axis, active = self.points.axes[0], dict[int, list[Number]]()
        for point in points:
            for r in point.results:
                active.setdefault(r.experiment.seed, []).extend([point.coordinate] if r.status == "active" else [])
        if not any(active.values()):
            return "none"
        place = (lambda value: math.log(value)) if axis.log else float
        widths = [place(max(values)) - place(min(values)) if values else 0.0 for values in active.values()]
        mean, half = sum(widths) / len(widths), intervals.half_width(widths)

        def text(width: float) -> str:
            size = math.exp(width) if axis.log else width
            return f"{size:.3g}" if size < 999.5 else f"{size:,.0f}"

        last = max(p.coordinate for p in points)
        most = place(last) - place(min(p.coordinate for p in points))
        between = "" if half is None else f" [{text(max(0.0, mean - half))}, {text(min(most, mean + half))}]"
        bounded = last in {v for values in active.values() for v in values}
        return (
            f"{'a factor of ' if axis.log else ''}{text(mean)}{between}{', to the end of the grid' if bounded else ''}"
        )
