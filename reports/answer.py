"""The answer of a sweep: where it is best, how sure that is, and whether the paper's claims hold."""

from __future__ import annotations

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
            found.append(f"On the Pareto front, no other place better in all: {'; '.join(self.places.front)}.")
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
        text = (
            f"**{objective.title}** is best at **{self.places.named(best.point)}**: {value}, of {len(places)} places."
        )
        if self.seeds == 1:
            return f"{text} How far from there the optimum may lie is not estimable from one seed."
        alike, test = self.places.alike(objective, places), f"paired t tests over {self.seeds} seeds (5 %, Holm)"
        if len(alike) == 1:
            return f"{text} All others are worse by {test}."
        ends = []
        for k, axis in enumerate(self.places.axes):
            values = [tried.point.values[k][1] for tried in alike]
            ends.append(f"{axis.name} in [{min(values):.6g}, {max(values):.6g}]")
        return (
            f"{text} By {test} {len(alike) - 1} of the others cannot be told from it: as far as these places tell, the "
            f"optimum lies at {', '.join(ends)}."
        )

    def noise(self, objective: Objective) -> list[str]:
        """How much seeds differ, beside how much places do."""
        noise, digits = self.places.noise(objective), _digits(objective)
        if noise is None:
            return []
        means = [tried.mean(objective) for tried in self.places.done]
        return [
            f"Between seeds of one place {objective.title} has a standard deviation of {noise:.{digits}f}, pooled over "
            f"{len(means)} places; their means span {max(means) - min(means):.{digits}f}."
        ]

    def verdict(self, claim: Best | Wider) -> str:
        """Whether a claim of the paper holds here."""
        if isinstance(claim, Best):
            told = f"{OBJECTIVES[claim.objective].title} is best at {self.places.axes[0].name} = {claim.at:g} among "
            told, verdict = told + _listed(claim.among), self._verdict_of_best(claim)
        else:
            told = f"{claim.row} keeps its latents active over a wider range than {claim.than}"
            verdict = self._verdict_of_wider(claim)
        return f"Claim of the paper ({claim.source}): {told}. {verdict}"

    def _verdict_of_best(self, claim: Best) -> str:
        objective = OBJECTIVES[claim.objective]
        if objective not in self.places.asked.objectives:
            return f"**Not tested** by this objective: `--objective {claim.objective}` does."
        if len(self.places.axes) > 1 or len(self.places.by_row) > 1:
            return "**Not tested**: it is about one row and one axis."
        places = [tried for tried in self.places.done if tried.value in claim.among]
        missing = set(claim.among) - {tried.value for tried in places}
        if missing:
            return f"**Undecided**: {_listed(sorted(missing))} not measured."
        best = self.places.best(objective, places)
        if self.seeds == 1:
            return f"**Undecided**: one seed. On it the best of these is {best.value:g}."
        alike = [tried.value for tried in self.places.alike(objective, places)]
        if claim.at not in alike:
            return f"**Does not hold**: {claim.at:g} is worse than {best.value:g} over {self.seeds} seeds."
        if alike == [claim.at]:
            return f"**Holds** over {self.seeds} seeds."
        others = _listed([value for value in alike if value != claim.at])
        return (
            f"**Undecided**: {self.seeds} seeds cannot tell {claim.at:g} from {others}; the best mean is at "
            f"{best.value:g}."
        )

    def _verdict_of_wider(self, claim: Wider) -> str:
        by_row = self.places.by_row
        if not {claim.row, claim.than} <= set(by_row) or len(self.places.axes) > 1:
            return "**Not tested**: it is about both rows and one axis."
        if {t.value for t in by_row[claim.row]} != {t.value for t in by_row[claim.than]}:
            return "**Undecided**: the two rows were measured at different values."
        counts = {row: self._active(by_row[row]) for row in (claim.row, claim.than)}
        gains = [float(a - b) for a, b in zip(*counts.values(), strict=True)]
        told = " and ".join(f"{row} at {_listed(found)}" for row, found in counts.items())
        told = f"active are {told} of {len(by_row[claim.row])} values"
        half = intervals.half_width(gains)
        if half is None:
            return f"**Undecided**: one seed. On it {told}."
        mean = sum(gains) / len(gains)
        verdict = "Holds" if mean - half > 0 else "Does not hold" if mean + half <= 0 else "Undecided"
        return f"**{verdict}** over {self.seeds} seeds: {told}, a difference of {mean:+.1f} ± {half:.1f}."

    def _active(self, places: Sequence[Tried]) -> list[int]:
        """At how many places the latents are active at the end, by seed."""
        return [sum(tried.results[seed].status == "active" for tried in places) for seed in range(self.seeds)]

    def paper_curve(self, objective: Objective) -> dict[Number, float]:
        """The paper's numbers over the one axis; empty where it has none."""
        asked = self.places.asked
        if objective.metric not in PAPER or not asked.study.published or len(self.places.axes) > 1 or asked.space:
            return {}
        rows, (column, _) = published(asked.study.published_table), PAPER[objective.metric]
        return {at: float(rows[name][column]) for at, name in asked.study.published.items() if rows[name][column]}

    def paper_title(self, objective: Objective) -> str:
        """How the paper's curve is called."""
        return f"{PAPER[objective.metric][1]} of the paper's Table {self.places.asked.study.published_table}"

    def ranges(self) -> str:
        """For every row the values at which its latents are active, partly collapsed, or collapsed."""
        lines = []
        for row, places in self.places.by_row.items() if len(self.places.axes) == 1 else ():
            found: dict[str, list[Number]] = {}
            for tried in places:
                for state in dict.fromkeys(r.status for r in tried.results):
                    found.setdefault(state, []).append(tried.value)
            lines.append({"row": row} | {state: _listed(found.get(state, [])) or "–" for state in STATES})
        return markdown(lines) if lines else ""


def _listed(values: Sequence[Number]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _digits(objective: Objective) -> int:
    digits: int = plugins.load("harness.metrics", objective.metric, "metric").digits
    return digits
