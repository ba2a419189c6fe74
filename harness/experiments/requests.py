"""Requests: what a user wants of a study, and the experiments that follow from it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.experiments.axis import Axis, Number, axis
from harness.experiments.experiment import Experiment, full_path, heeded, with_variant
from harness.experiments.fields import differences, flat, with_fields
from harness.experiments.keys import key_of
from harness.experiments.objectives import Objective, objectives, stages
from harness.experiments.scales import Scale
from harness.experiments.study import Ablation, Row, Study
from harness.experiments.sweep import Sweep
from harness.system import plugins
from harness.system.errors import Mistake, unknown


@dataclass(frozen=True)
class Asked(ABC):
    """What a user asked of a study: at which scale, on which data, with which fields set, which rows and seeds."""

    name: str
    study: Study
    scale: Scale
    data: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int = 1

    @property
    @abstractmethod
    def page(self) -> str:
        """The name of its page."""

    @property
    @abstractmethod
    def command(self) -> str:
        """What asks the same again."""

    @abstractmethod
    def experiments(self) -> dict[Row, list[Experiment]]:
        """The experiments of every row, one a seed; raises `Mistake` for whatever does not exist or fit."""

    @abstractmethod
    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        """The stages whose results it reads; all others follow from them."""

    @property
    def options(self) -> list[str]:
        """What the options that every study has were."""
        words = ["--scale", self.scale.experiment.scale]
        words += ["--data", self.data] if self.data else []
        words += ["--rows", ",".join(self.rows)] if self.rows else []
        words += ["--seeds", str(self.seeds)] if self.seeds > 1 else []
        for path, value in self.fields:
            words += ["--set", f"{path}={value}"]
        return words

    def chosen_rows(self) -> list[Row]:
        """The declared rows that were asked for, by name or else by variant; raises `Mistake`."""
        rows = self.study.rows
        found: set[str] = set()
        for name in self.rows:
            named = {r.name for r in rows if r.name == name} or {r.name for r in rows if r.variant == name}
            if not named:
                raise unknown("row", name, [row.name for row in rows])
            found |= named
        return [row for row in rows if not self.rows or row.name in found]

    def experiment(self, row: Row) -> Experiment:
        """The experiment of one row, seed 0."""
        return with_fields(self._as_declared(row), dict(self._full_fields()))

    def _as_declared(self, row: Row) -> Experiment:
        experiment = with_fields(with_variant(self._base(), row.variant), self.scale.rungs(row.rungs))
        experiment = with_fields(experiment, self.study.fields | row.fields)
        return with_fields(experiment, multiplied(experiment, row.times))

    def _base(self) -> Experiment:
        base = self.scale.experiment
        if self.data is None:
            return base
        name, _, argument = self.data.partition(":")
        plugins.load("harness.data.sets", name, "data set")
        return with_fields(base, {"data.name": name, "data.argument": argument})

    def _full_fields(self) -> list[tuple[str, str]]:
        """The fields that were set, those of the tokenizer with its name in front."""
        full = []
        for path, value in self.fields:
            if path in ("seed", "scale", "data.name", "data.argument"):
                raise Mistake(f"{path} is set by --seeds, --scale or --data")
            full.append((full_path(path), value))
        return full

    def check_fields(self, by_row: dict[Row, Experiment]) -> None:
        """A setting that no row heeds would be a silent mistake."""
        of_rows: set[str] = set()
        for row, experiment in by_row.items():
            of_rows |= {*heeded(experiment), *heeded(self._as_declared(row))}
        for path, _ in self._full_fields():
            if path not in of_rows:
                raise Mistake(f"{path} has no influence on any of these rows: what it belongs to is off")


@dataclass(frozen=True)
class AskedAblation(Asked):
    """What was asked of a table."""

    study: Ablation

    @property
    def page(self) -> str:
        """study-scale, the data set if not the scale's, digits for chosen rows and fields."""
        parts = [self.name, self.scale.experiment.scale]
        parts += [self.data.partition(":")[0]] if self.data else []
        parts += [key_of([self.data, self.fields, self.rows])[:6]] if self.fields or self.rows or self.data else []
        return "-".join(parts)

    @property
    def command(self) -> str:
        return shlex.join(["python", "-m", "harness.ablate", self.name, *self.options])

    def experiments(self) -> dict[Row, list[Experiment]]:
        chosen = self.chosen_rows()
        by_row = {row: self.experiment(row) for row in chosen}
        self.check_fields(by_row)
        for row in chosen:
            if row.base is not None:
                differing = differences(self.experiment(self.study.row(row.base)), by_row[row])
                if len(differing) != 1:
                    raise Mistake(
                        f"row {row.name!r} should differ from {row.base!r} in one field, and with these settings "
                        f"differs in {', '.join(differing) or 'none'}"
                    )
        return {row: of_seeds(experiment, self.seeds) for row, experiment in by_row.items()}

    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        return wanted(experiment)


def multiplied(experiment: Experiment, times: dict[str, float]) -> dict[str, object]:
    """The fields that `times` names, times that; where a whole number comes to a fraction it is refused when set."""
    of: dict[str, Any] = flat(experiment)
    return {path: of[path] * factor for path, factor in times.items()}


def of_seeds(experiment: Experiment, seeds: int) -> list[Experiment]:
    """The same experiment with the seeds 0 .. seeds - 1."""
    return [dataclasses.replace(experiment, seed=seed) for seed in range(seeds)]


ROW = "row"  # how Optuna calls the choice between several rows


@dataclass(frozen=True)
class Point:
    """A place in a space: a row, and a value for every field that is swept."""

    row: str
    values: tuple[tuple[str, Number], ...]


@dataclass(frozen=True)
class AskedSweep(Asked):
    """What was asked of a sweep: also its space where it is not the declared one, its objectives, its points so far.

    `words` are what else the command said: sampler, pruner, trials, storage.
    """

    study: Sweep
    space: tuple[str, ...] = ()
    objective: str = ""
    points: tuple[Point, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is looked for."""
        return objectives(self.objective or self.study.objective)

    @property
    def page(self) -> str:
        """study-scale-objectives, the data set if not the scale's, seeds if several, digits for what else was set."""
        parts = [self.name, self.scale.experiment.scale, *(o.metric for o in self.objectives)]
        parts += [self.data.partition(":")[0]] if self.data else []
        parts += [f"{self.seeds}-seeds"] if self.seeds > 1 else []
        special = [self.data, self.fields, self.rows, self.space]
        return "-".join([*parts, key_of(special)[:6]] if any(special) else parts)

    @property
    def command(self) -> str:
        words = ["python", "-m", "harness.sweep", self.name]
        words += ["--objective", self.objective] if self.objective else []
        for given in self.space:
            words += ["--space", given]
        return shlex.join([*words, *self.options, *self.words])

    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        return stages(self.objectives)

    def chosen_rows(self) -> list[Row]:
        rows = super().chosen_rows()
        return [row for row in rows if self.rows or not self.study.chosen or row.name in self.study.chosen]

    @functools.cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The space in absolute values; raises `Mistake` where a row does not heed it or refuses its ends."""
        declared = tuple(map(axis, self.space)) or self.study.space
        if not declared:
            raise Mistake(f"{self.name} has no space of its own: --space FIELD=LOW:HIGH or FIELD=A,B,C names one")
        if len({a.field for a in declared}) < len(declared):
            raise Mistake("--space names a field twice")
        bases = {row: self.experiment(row) for row in self.chosen_rows()}
        self.check_fields(bases)
        found = tuple(a.of(next(iter(bases.values()))) for a in declared)
        for a, (row, base) in itertools.product(found, bases.items()):
            if a.field in ("seed", "scale", "data.name", "data.argument"):
                raise Mistake(f"{a.field} is set by --seeds, --scale or --data")
            if any(a.field == full_path(path) for path, _ in self.fields):
                raise Mistake(f"{a.field} is swept: --set cannot fix it")
            for value in (*a.grid, a.low, a.high):
                if value is not None and a.field not in heeded(with_fields(base, {a.field: value})):
                    raise Mistake(f"{a.field} has no influence on the row {row.name!r}: what it belongs to is off")
        return found

    def grid(self) -> list[Point]:
        """Every place of the grid once, row by row; raises `Mistake` where an axis names no values."""
        axes = self.axes
        for a in axes:
            if not a.grid:
                raise Mistake(f"{a.field} has a range and no values for a grid: {a.field}=A,B,C, or another --sampler")
        values = itertools.product(*(a.grid for a in axes))
        of_fields = [tuple(zip((a.field for a in axes), chosen, strict=True)) for chosen in values]
        return [Point(row.name, chosen) for row in self.chosen_rows() for chosen in of_fields]

    def parameters(self, point: Point) -> dict[str, Any]:
        """A point as Optuna has it."""
        row = {ROW: point.row} if len(self.chosen_rows()) > 1 else {}
        return row | {a.name: value for a, (_, value) in zip(self.axes, point.values, strict=True)}

    def point(self, parameters: Mapping[str, Any]) -> Point:
        """What `parameters` gives for a point."""
        row = parameters[ROW] if len(self.chosen_rows()) > 1 else self.chosen_rows()[0].name
        return Point(row, tuple((a.field, parameters[a.name]) for a in self.axes))

    def middle(self) -> Point:
        """A place in the middle, to tell what a trial takes."""
        values = [
            a.grid[len(a.grid) // 2] if a.low is None or a.high is None else type(a.low)((a.low + a.high) / 2)
            for a in self.axes
        ]
        fields = (a.field for a in self.axes)
        return Point(self.chosen_rows()[0].name, tuple(zip(fields, values, strict=True)))

    def trying(self, point: Point) -> AskedSweep:
        """The same with one more point."""
        return self if point in self.points else dataclasses.replace(self, points=(*self.points, point))

    def row_of(self, point: Point) -> Row:
        """The row of a page that a point is."""
        names = {a.field: a.name for a in self.axes}
        named = [f"{names[path]} = {value:.6g}" for path, value in point.values]
        row = self.study.row(point.row)
        label = ", ".join([*([row.name] if len(self.study.rows) > 1 else []), *named])
        return dataclasses.replace(row, name=label, fields=row.fields | dict(point.values))

    def experiments_of(self, point: Point) -> list[Experiment]:
        """The experiments of a point, one a seed; raises `Mistake` where its values do not go together."""
        base = self.experiment(self.study.row(point.row))
        return of_seeds(with_fields(base, dict(point.values)), self.seeds)

    def experiments(self) -> dict[Row, list[Experiment]]:
        return {self.row_of(point): self.experiments_of(point) for point in self.points}


def wanted(experiment: Experiment) -> tuple[str, ...]:
    """The stages that a row of a table reads; all others follow from them."""
    of_generator = ("generator_snapshots", "generation") if experiment.generator.on else ()
    return ("difficulty", "snapshots", "evaluation", *of_generator)


def study_called(name: str) -> Ablation | Sweep:
    """The study that a file in `ablations/` declares; raises `Mistake`."""
    study: Ablation | Sweep = plugins.load("ablations", name, "study").study
    return study
