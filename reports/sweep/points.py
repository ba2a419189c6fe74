"""What a sweep has found out: the places that were tried, and what the seeds tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.experiments.axis import Axis, Number
from harness.experiments.objectives import Objective
from harness.experiments.requests import Point, SweepRequest
from harness.search.trials import state_of
from harness.store.runs import Store
from harness.system.errors import Mistake
from reports.results import Result, load
from reports.statistics import intervals
from reports.statistics.bootstrap import optimum

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Tried:
    """A place that was tried: how its last trial ended, and its results, one a seed."""

    point: Point
    number: int
    state: str
    reason: str
    results: list[Result]

    @property
    def done(self) -> bool:
        """Whether it has values, and the runs that they come from are there."""
        return self.state == "done" and all(result.state == "done" for result in self.results)

    @property
    def told(self) -> str:
        """Its state in words."""
        return "its runs are gone" if self.state == "done" and not self.done else self.state

    @property
    def value(self) -> Number:
        """Its place on the one axis, or on the first."""
        return self.point.values[0][1]

    def of(self, objective: Objective) -> list[float]:
        """The objective, one value a seed."""
        split = objective.split(self.results[0].experiment)
        found = [r.value(objective.metric, split, objective.stage) for r in self.results]
        return [record.value for record in found if record is not None]

    def other(self, metric: str) -> list[float]:
        """What else was measured of the tokenizer, one value a seed."""
        found = [r.value(metric, "val", self.measuring) for r in self.results]
        return [record.value for record in found if record is not None]

    @property
    def measuring(self) -> str:
        """The stage that measured the tokenizer."""
        return "evaluation" if "evaluation" in self.results[0].runs else "diagnosis"

    def mean(self, objective: Objective) -> float:
        """The objective, mean over seeds."""
        values = self.of(objective)
        return sum(values) / len(values)


@dataclass(frozen=True)
class Places:
    """The trials of a study, with their numbers from the store."""

    request: SweepRequest
    study: optuna.Study
    store: Store

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The space."""
        return self.request.axes

    @cached_property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that were begun."""
        names = {a.name for a in self.axes}
        return [t for t in self.study.get_trials() if t.state.name != "WAITING" and names <= set(t.params)]

    @cached_property
    def tried(self) -> list[Tried]:
        """Every place that was tried, row by row, by its values; the last trial speaks for it."""
        rows = [row.name for row in self.request.chosen_rows()]
        last = {self.request.point(t.params): t for t in self.trials}
        found = []
        for point in sorted(last, key=lambda point: (rows.index(point.row), point.values)):
            t = last[point]
            found.append(Tried(point, t.number, state_of(t), t.user_attrs.get("reason", ""), self._results(point)))
        return found

    def _results(self, point: Point) -> list[Result]:
        try:
            experiments = self.request.experiments_of(point)
        except Mistake:  # values that do not go together: the trial failed by that
            return []
        return load({self.request.row_of(point): experiments}, self.store, self.request.stages)

    @cached_property
    def done(self) -> list[Tried]:
        """The places that have values."""
        return [tried for tried in self.tried if tried.done]

    @cached_property
    def by_row(self) -> dict[str, list[Tried]]:
        """The places that have values, by row."""
        found: dict[str, list[Tried]] = {}
        for tried in self.done:
            found.setdefault(tried.point.row, []).append(tried)
        return found

    @property
    def results(self) -> list[Result]:
        """All results."""
        return [result for tried in self.tried for result in tried.results]

    def named(self, point: Point) -> str:
        """How a place is called."""
        return self.request.row_of(point).name

    def best(self, objective: Objective, places: Sequence[Tried]) -> Tried:
        """The place of the best mean."""
        best: Tried = objective.best(places, key=lambda tried: tried.mean(objective))
        return best

    def alike(self, objective: Objective, places: Sequence[Tried]) -> tuple[list[Tried], str]:
        """The places that may be the best, as far as seeds can tell, and how that was told."""
        found = optimum({tried.number: tried.of(objective) for tried in places}, objective.better)
        if found is None:  # seeds that do not differ
            best = self.best(objective, places).mean(objective)
            return [tried for tried in places if tried.mean(objective) == best], "seeds that do not differ"
        return [tried for tried in places if tried.number in found.among], found.method

    def noise(self, objective: Objective) -> float | None:
        """The standard deviation between seeds, pooled over the places; None for one seed."""
        return intervals.pooled_deviation([tried.of(objective) for tried in self.done])

    @cached_property
    def front(self) -> list[str]:
        """The places that no other beats in one objective without losing in another."""
        numbers = {tried.number for tried in self.done}
        on_it = [self.request.point(t.params) for t in self.study.best_trials if t.number in numbers]
        return list(dict.fromkeys(map(self.named, on_it)))
