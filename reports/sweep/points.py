"""The points that a sweep has tried, with their results over seeds."""

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
from reports.claims import quantities
from reports.results import Result, load
from reports.statistics import model
from reports.statistics.bootstrap import optimum

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class TriedPoint:
    """A point that was tried: the outcome of its last trial, and its results, one per seed."""

    location: Point
    number: int
    state: str
    reason: str
    results: list[Result]

    @property
    def done(self) -> bool:
        """Whether it has values whose runs still exist."""
        return self.state == "done" and all(result.state == "done" for result in self.results)

    @property
    def state_text(self) -> str:
        """Its state, as text."""
        return "its runs are gone" if self.state == "done" and not self.done else self.state

    @property
    def coordinate(self) -> Number:
        """Its value on the only axis, or on the first."""
        return self.location.values[0][1]

    def objective_values(self, objective: Objective) -> list[float]:
        """The values of an objective, one per seed."""
        return list(self.by_seed(objective).values())

    def by_seed(self, objective: Objective) -> dict[int, float]:
        """The values of an objective by seed."""
        split = objective.split(self.results[0].experiment)
        measured = {r.experiment.seed: r.value(objective.metric, split, objective.stage) for r in self.results}
        return {seed: record.value for seed, record in measured.items() if record is not None}

    def metric_values(self, metric: str) -> list[float]:
        """The values of a metric of the tokenizer, one per seed."""
        measured = [r.value(metric, "val", self.measuring_stage) for r in self.results]
        return [record.value for record in measured if record is not None]

    def quantities(self, name: str) -> list[float]:
        """The values of a quantity of claims, one per seed."""
        return [value for r in self.results if (value := quantities.quantity(r, name)) is not None]

    @property
    def measuring_stage(self) -> str:
        """The stage that measured the tokenizer."""
        return self.results[0].latents_stage

    def mean(self, objective: Objective) -> float:
        """The mean of an objective over seeds."""
        values = self.objective_values(objective)
        return sum(values) / len(values)


@dataclass(frozen=True)
class TriedPoints:
    """The points of a sweep, from its trials, with their results from the store."""

    request: SweepRequest
    study: optuna.Study
    store: Store

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the sweep."""
        return self.request.axes

    @cached_property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that have begun."""
        names = {a.name for a in self.axes}
        return [t for t in self.study.get_trials() if t.state.name != "WAITING" and names <= set(t.params)]

    @cached_property
    def all(self) -> list[TriedPoint]:
        """All points, sorted by row and values, each with its last trial."""
        rows = [row.name for row in self.request.chosen_rows()]
        last = {self.request.point(t.params): t for t in self.trials}
        points = []
        for point in sorted(last, key=lambda point: (rows.index(point.row), point.values)):
            t = last[point]
            reason = t.user_attrs.get("reason", "")
            points.append(TriedPoint(point, t.number, state_of(t), reason, self._results(point)))
        return points

    def _results(self, point: Point) -> list[Result]:
        try:
            experiments = self.request.experiments_of(point)
        except Mistake:  # invalid together: the trial failed
            return []
        return load({self.request.row_of(point): experiments}, self.store, self.request.stages)

    @cached_property
    def done(self) -> list[TriedPoint]:
        """The points with values."""
        return [point for point in self.all if point.done]

    @cached_property
    def by_row(self) -> dict[str, list[TriedPoint]]:
        """The points with values, by row."""
        points: dict[str, list[TriedPoint]] = {}
        for point in self.done:
            points.setdefault(point.location.row, []).append(point)
        return points

    @property
    def results(self) -> list[Result]:
        """The results of all points."""
        return [result for point in self.all for result in point.results]

    def name_of(self, location: Point) -> str:
        """The name of a point in texts."""
        return self.request.row_of(location).name

    def best(self, objective: Objective, points: Sequence[TriedPoint]) -> TriedPoint:
        """The point with the best mean."""
        best: TriedPoint = objective.best(points, key=lambda point: point.mean(objective))
        return best

    def candidates(self, objective: Objective, points: Sequence[TriedPoint]) -> tuple[list[TriedPoint], str]:
        """The points that may truly be the best, given the noise of seeds, and the method of that estimate."""
        grain = quantities.grain(objective.metric, points[0].results)
        estimate = optimum({point.number: point.by_seed(objective) for point in points}, objective.better, grain)
        if estimate is None:  # seeds that do not differ
            best = self.best(objective, points).mean(objective)
            return [point for point in points if point.mean(objective) == best], "seeds that do not differ"
        return [point for point in points if point.number in estimate.candidates], estimate.method

    def noise(self, objective: Objective) -> float | None:
        """The standard deviation between seeds that points and seeds leave unexplained; None for one seed."""
        deviation, freedom = model.noise({str(p.number): p.by_seed(objective) for p in self.done})
        return deviation if freedom else None

    @cached_property
    def front(self) -> list[str]:
        """The names of the points on the Pareto front."""
        numbers = {point.number for point in self.done}
        locations = [self.request.point(t.params) for t in self.study.best_trials if t.number in numbers]
        return list(dict.fromkeys(map(self.name_of, locations)))
