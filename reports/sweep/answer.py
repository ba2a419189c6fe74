"""The answer of a sweep: where it is best, how sure that is, and whether the paper's claims hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.evaluation.records import digits_of
from harness.experiments.axis import Number
from harness.experiments.claims import Best, Claim, Wider
from harness.experiments.objectives import Objective
from harness.experiments.published import published
from reports.claims.judge import judge
from reports.results import protocol_of
from reports.statistics import intervals
from reports.sweep.points import Places, Tried
from reports.tables import markdown

PAPER = {"rfd": ("rfid", "rFID"), "gfd": ("gfid", "gFID")}
STATES = ("active", "partly", "collapsed", "never active")


@dataclass(frozen=True)
class Answer:
    """What can be said of the places of a sweep, beside the paper."""

    places: Places

    @property
    def seeds(self) -> int:
        """How many every place has."""
        return self.places.request.seeds

    def lines(self) -> list[str]:
        """Where the objectives are best, how sure that is, and whether the paper's claims hold."""
        if not self.places.done:
            return ["No trial is finished."]
        found = []
        objectives = self.places.request.objectives
        if len(objectives) > 1:
            front = "; ".join(self.places.front)
            found.append(
                f"On the Pareto front, where no other place is better in one and as good in the others: {front}."
            )
        for objective in objectives:
            found += [self.optimum(objective, places) for places in self.places.by_row.values()]
            found += self.noise(objective)
        found += [self.verdict(claim) for claim in self.places.request.study.claims]
        for objective in objectives:
            if curve := self.paper_curve(objective):
                at = objective.best(curve, key=lambda value: curve[value])
                found.append(f"{self.paper_title(objective)} is best at {at:g} ({curve[at]:g}).")
        return found

    def optimum(self, objective: Objective, places: Sequence[Tried]) -> str:
        """The best of places, and where else the optimum may lie as far as the seeds tell."""
        best = self.places.best(objective, places)
        value = intervals.shown(best.of(objective), self._digits(objective, best))
        at, of = self.places.named(best.point), f"of {len(places)} places"
        text = f"**{objective.title}** is best at **{at}**: {value}, {of}."
        if self.seeds == 1:
            return f"{text} How far from there the optimum may lie is not estimable from one seed."
        alike, method = self.places.alike(objective, places)
        over = f"over {self.seeds} seeds ({method})"
        if len(alike) == 1:
            return f"{text} All others are worse {over}."
        others = "; ".join(self.places.named(tried.point) for tried in alike if tried is not best)
        ends = []
        for k, axis in enumerate(self.places.axes):
            values = [tried.point.values[k][1] for tried in alike]
            ends.append(f"{axis.name} from {min(values):.6g} to {max(values):.6g}")
        return (
            f"{text} These cannot be told from it {over}: {others}. So the optimum may lie anywhere "
            f"among them, {', '.join(ends)}."
        )

    def _digits(self, objective: Objective, tried: Tried) -> int:
        split = objective.split(tried.results[0].experiment)
        return digits_of(objective.metric, protocol_of(tried.results, objective.metric, split, objective.stage))

    def noise(self, objective: Objective) -> list[str]:
        """How much seeds differ, beside how much places do."""
        noise = self.places.noise(objective)
        if noise is None:
            return []
        means = [tried.mean(objective) for tried in self.places.done]
        return [
            f"Between seeds of one place {objective.title} has a standard deviation of {noise:.3g}, pooled over "
            f"{len(means)} places; their means span {max(means) - min(means):.3g}."
        ]

    def verdict(self, claim: Claim) -> str:
        """Whether what the paper says holds here."""
        request, told = self.places.request, f"Claim of the paper ({claim.source}): {claim.says}."
        if isinstance(claim, Best | Wider) and (len(request.axes) > 1 or request.axes[0].field != claim.field):
            return f"{told} **Not tested**: another space."
        if request.fields:
            return f"{told} **Not tested**: other fields."
        found = judge(claim, [r for tried in self.places.done for r in tried.results], {})
        over = f" over {found.n} {'seed' if found.n == 1 else 'seeds'}" if found.n else ""
        return f"{told} **{found.verdict.capitalize()}**{over}: {found.here}."

    def paper_curve(self, objective: Objective) -> dict[Number, float]:
        """The paper's numbers over the one axis; empty where it has none."""
        request = self.places.request
        own = request.space or request.fields or len(self.places.axes) > 1
        if own or objective.metric not in PAPER or not request.study.published:
            return {}
        rows, (column, _) = published(request.study.published_table), PAPER[objective.metric]
        return {at: float(rows[name][column]) for at, name in request.study.published.items() if rows[name][column]}

    def paper_title(self, objective: Objective) -> str:
        """How the paper's curve is called."""
        return f"{PAPER[objective.metric][1]} of the paper's Table {self.places.request.study.published_table}"

    def ranges(self) -> str:
        """For every row the values at which its latents are active or not, and how wide the active range is."""
        lines = []
        for row, places in self.places.by_row.items() if len(self.places.axes) == 1 else ():
            found: dict[str, list[str]] = {}
            for tried in places:
                for state, seeds in Counter(r.status for r in tried.results).items():
                    some = "" if seeds == self.seeds else f" ({seeds} of {self.seeds} seeds)"
                    found.setdefault(state, []).append(f"{tried.value:.6g}{some}")
            line = {"row": row} | {state: ", ".join(found.get(state, [])) or "–" for state in STATES}
            always = [t.value for t in places if {r.status for r in t.results} == {"active"}]
            lines.append(line | {"width of the active range": self._width(always)})
        return markdown(lines) if lines else ""

    def _width(self, values: Sequence[Number]) -> str:
        """From the least to the largest of values: a factor, on a logarithmic axis."""
        if not values:
            return "none"
        low, high = min(values), max(values)
        return f"a factor of {high / low:.3g}" if self.places.axes[0].log else f"{high - low:.3g}"
