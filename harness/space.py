"""Sweeps, one file each in `ablations/`: the space that is searched, what is claimed of it, and what was asked."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.axis import Axis, Number, axis
from harness.errors import Mistake
from harness.experiment import Experiment, full_path, heeded, key_of, with_fields
from harness.objectives import Objective, objectives, stages
from harness.plan import task
from harness.study import Asked, Row, Study, of_seeds

ROW = "row"  # how Optuna calls the choice between several rows


@dataclass(frozen=True)
class Sweep(Study):
    """A space over rows that stand alone, and what is looked for in it unless the command says otherwise.

    `chosen` are the rows that run unless others are named; all, where it is empty. `published` are the rows of the
    paper's table by the value of the one axis.
    """

    space: tuple[Axis, ...]
    objective: str
    sampler: str = "grid"
    trials: int | None = None
    chosen: tuple[str, ...] = ()
    published_table: str = ""
    published: dict[Number, str] = field(default_factory=dict)


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

    def require_influence(self) -> None:
        """Raises `Mistake` where an axis leaves every objective as it is."""
        point = self.middle()
        for a in self.axes:
            keys = set()
            for value in {*a.grid, *(end for end in (a.low, a.high) if end is not None)}:
                moved = Point(point.row, tuple((f, value if f == a.field else v) for f, v in point.values))
                keys |= {task(o.stage, e).key for o in self.objectives for e in self.experiments_of(moved)[:1]}
            if len(keys) == len(self.objectives) and len(a.grid) != 1:
                raise Mistake(f"{a.field} has no influence on {' and '.join(o.title for o in self.objectives)}")

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
