"""The answer of a sweep: where it is best, how sure that is, and whether the paper's claims hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness import plugins
from harness.axis import Number
from harness.objectives import OBJECTIVES, Objective
from harness.space import Best, Wider
from harness.study import published
from reports import intervals
from reports.places import Places, Tried
from reports.tables import markdown

PAPER = {"rfd": ("rfid", "rFID"), "gfd": ("gfid", "gFID")}
STATES = ("active", "partly", "collapsed", "never active")
SEEDS_OF_A_COUNT = 3  # before anything is said of how many values


@dataclass(frozen=True)
class Answer:
    """What can be said of the places of a sweep, beside the paper."""

    places: Places

    @property
    def seeds(self) -> int:
        """How many every place has."""
        return self.places.asked.seeds

    def lines(self) -> list[str]:
        """Where the objectives are best, how sure that is, and whether the paper's claims hold."""
        if not self.places.done:
            return ["No trial is finished."]
        found = []
        objectives = self.places.asked.objectives
        if len(objectives) > 1:
            front = "; ".join(self.places.front)
            found.append(
                f"On the Pareto front, where no other place is better in one and as good in the others: {front}."
            )
        for objective in objectives:
            found += [self.optimum(objective, places) for places in self.places.by_row.values()]
            found += self.noise(objective)
        found += [self.verdict(claim) for claim in self.places.asked.study.claims]
        for objective in objectives:
            if curve := self.paper_curve(objective):
                at = objective.best(curve, key=lambda value: curve[value])
                found.append(f"{self.paper_title(objective)} is best at {at:g} ({curve[at]:g}).")
        return found

    def optimum(self, objective: Objective, places: Sequence[Tried]) -> str:
        """The best of places, and where else the optimum may lie as far as the seeds tell."""
        best = self.places.best(objective, places)
        value = intervals.shown(best.of(objective), _digits(objective))
        at, of = self.places.named(best.point), f"of {len(places)} places"
        text = f"**{objective.title}** is best at **{at}**: {value}, {of}."
        if self.seeds == 1:
            return f"{text} How far from there the optimum may lie is not estimable from one seed."
        alike, over = self.places.alike(objective, places), f"over {self.seeds} seeds"
        if len(alike) == 1:
            return f"{text} All others are worse {over} ({intervals.TEST})."
        others = "; ".join(self.places.named(tried.point) for tried in alike if tried is not best)
        ends = []
        for k, axis in enumerate(self.places.axes):
            values = [tried.point.values[k][1] for tried in alike]
            ends.append(f"{axis.name} from {min(values):.6g} to {max(values):.6g}")
        return (
            f"{text} These cannot be told from it {over} ({intervals.TEST}): {others}. So the optimum may lie anywhere "
            f"among them, {', '.join(ends)}."
        )

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

    def verdict(self, claim: Best | Wider) -> str:
        """Whether what the paper says holds here."""
        asked = self.places.asked
        axis, several = self.places.axes[0], len(self.places.axes) > 1
        if several or axis.field != claim.field or asked.fields:
            verdict = "**Not tested**: another space, or other fields."
        elif isinstance(claim, Best):
            verdict = self._verdict_of_best(claim)
        else:
            verdict = self._verdict_of_wider(claim)
        if isinstance(claim, Best):
            told = f"{claim.metric} is best at {claim.at:g} among {_listed(claim.among)}"
            return (
                f"Claim of the paper ({claim.source}): {told}; here by {OBJECTIVES[claim.objective].title}. {verdict}"
            )
        told = f"{claim.row} keeps its latents active at more values of {axis.name} than {claim.than}"
        return f"From the paper ({claim.source}) it follows that {told}. {verdict}"

    def _verdict_of_best(self, claim: Best) -> str:
        """Holds where the claimed place beats each of the others, does not where one of them beats it."""
        objective = OBJECTIVES[claim.objective]
        if objective not in self.places.asked.objectives:
            return f"**Not tested** by this objective: `--objective {claim.objective}` does."
        places = {tried.value: tried for tried in self.places.done if tried.value in claim.among}
        missing = set(claim.among) - set(places)
        if missing or len(self.places.by_row) > 1:
            return f"**Undecided**: {_listed(sorted(missing)) or 'several rows'} not measured as in the paper."
        best = self.places.best(objective, list(places.values()))
        if self.seeds == 1:
            return f"**Undecided**: one seed. On it the best of these is {best.value:g}."
        claimed = places.pop(claim.at)
        apart = intervals.told_apart(claimed.of(objective), {t.number: t.of(objective) for t in places.values()})
        better = {t.value for t in places.values() if objective.best(t, claimed, key=lambda t: t.mean(objective)) is t}
        told = {t.value for t in places.values() if t.number in apart}
        over = f"over {self.seeds} seeds ({intervals.TEST})"
        if told & better:
            return f"**Does not hold** {over}: better are {_listed(sorted(told & better))}."
        unclear = sorted(set(places) - told)
        if not unclear:
            return f"**Holds** {over}: all others are worse."
        return f"**Undecided** {over}: not told from it are {_listed(unclear)}; the best mean is at {best.value:g}."

    def _verdict_of_wider(self, claim: Wider) -> str:
        by_row = self.places.by_row
        if not {claim.row, claim.than} <= set(by_row):
            return "**Not tested**: both rows are needed."
        counts = {row: self._active(by_row[row]) for row in (claim.row, claim.than)}
        gains = [a - b for a, b in zip(*counts.values(), strict=True)]
        told = " and ".join(f"{row} at {_listed(found)} of {len(by_row[row])} values" for row, found in counts.items())
        seeds = f"over {self.seeds} seeds" if self.seeds > 1 else "on one seed"
        if self.seeds < SEEDS_OF_A_COUNT:
            return f"**Undecided** {seeds}: active are {told}."
        # Counts of a few values have no t distribution: all seeds have to agree.
        verdict = "Holds" if min(gains) > 0 else "Does not hold" if max(gains) <= 0 else "Undecided"
        return f"**{verdict}** {seeds}, of which all would have to agree: active are {told}."

    def _active(self, places: Sequence[Tried]) -> list[int]:
        """At how many places the latents are active at the end, by seed."""
        return [sum(tried.results[seed].status == "active" for tried in places) for seed in range(self.seeds)]

    def paper_curve(self, objective: Objective) -> dict[Number, float]:
        """The paper's numbers over the one axis; empty where it has none."""
        asked = self.places.asked
        own = asked.space or asked.fields or len(self.places.axes) > 1
        if own or objective.metric not in PAPER or not asked.study.published:
            return {}
        rows, (column, _) = published(asked.study.published_table), PAPER[objective.metric]
        return {at: float(rows[name][column]) for at, name in asked.study.published.items() if rows[name][column]}

    def paper_title(self, objective: Objective) -> str:
        """How the paper's curve is called."""
        return f"{PAPER[objective.metric][1]} of the paper's Table {self.places.asked.study.published_table}"

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


def _listed(values: Sequence[Number]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _digits(objective: Objective) -> int:
    digits: int = plugins.load("harness.metrics", objective.metric, "metric").digits
    return digits
