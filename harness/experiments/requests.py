"""Requests: the study, the rows and the settings that a user wants, and the experiments that follow from them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.experiments import plugin_metrics
from harness.experiments.axis import Axis, Number, axis
from harness.experiments.experiment import Experiment, effective_fields, full_path
from harness.experiments.fields import differences, flat, with_fields
from harness.experiments.keys import key_of
from harness.experiments.objectives import Objective, objectives, stages
from harness.experiments.outside_rows import OutsideRow, outside_rows
from harness.experiments.published import published
from harness.experiments.scales import Scale
from harness.experiments.seeds import looks, with_seeds
from harness.experiments.study import Ablation, Row, Study
from harness.experiments.sweep import Sweep
from harness.system import paths, plugins
from harness.system.errors import Mistake

COUNTS = {"max_seeds": 0, "generator_seeds": 1, "sampling_seeds": 1}  # of seeds, by default, of a table
OPTION_FIELDS = ("seed", "generator_seed", "sampling_seed", "scale", "data.name", "data.argument")


@dataclass(frozen=True)
class Request(ABC):
    """A study by its name, a scale, data, fields that are set, rows by name or variant, and the number of seeds.

    `data` is None for the data set of the scale. `fields` are pairs of a dotted path and a value as text.
    """

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
        """The command that makes the same request again."""

    @abstractmethod
    def experiments(self) -> dict[Row, list[Experiment]]:
        """The experiments of every row, one per seed; raises `Mistake` for unknown names and wrong values."""

    @abstractmethod
    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        """The stages whose results the page reads; their inputs follow from them."""

    @property
    def changed(self) -> tuple[str, ...]:
        """What the user changed of the study as it is declared, in words: images of the user's own, and fields."""
        package, name = "harness.data.sets", (self.data or self.scale.experiment.data.name).partition(":")[0]
        own = name not in plugins.ours(package) or getattr(plugins.load(package, name, "data set"), "own", False)
        return (*([f"images of `{name}`"] if own else []), *(f"`{path}={value}`" for path, value in self.fields))

    @property
    def printed(self) -> dict[str, dict[str, str]]:
        """The paper's numbers for the rows of the study, by name; none where the user changed it."""
        return {} if self.changed else published(self.study.published_table)

    @property
    def options(self) -> list[str]:
        """The command-line options of the request that every study has."""
        words = ["--scale", self.scale.experiment.scale]
        words += ["--data", _from_here(self.data)] if self.data else []
        words += ["--rows", ",".join(self.rows)] if self.rows else []
        words += ["--seeds", str(self.seeds)] if self.seeds > 1 else []
        for path, value in self.fields:
            words += ["--set", f"{path}={value}"]
        for place in plugins.places():
            words += ["--plugins", place]
        return words

    def chosen_rows(self) -> list[Row]:
        """The declared rows that the request names, by name or else by variant; all if it names none.

        Raises `Mistake` for a name that no row has.
        """
        rows = self.study.rows
        chosen: set[str] = set()
        for name in self.rows:
            named = {r.name for r in rows if r.name == name} or {r.name for r in rows if r.variant == name}
            if not named:
                raise self.study.no_row(name)
            chosen |= named
        return [row for row in rows if not self.rows or row.name in chosen]

    def experiment(self, row: Row, values: Mapping[str, object] | None = None) -> Experiment:
        """The experiment of a row with seed 0, `values` set on top of it; raises `Mistake`.

        The fields of scale, variant, row and user are merged and set at once, so that only the final experiment is
        checked.
        """
        return with_fields(self.scale.experiment, self._declared(row) | dict(self._set_fields()) | dict(values or {}))

    def _declared(self, row: Row) -> dict[str, object]:
        """The fields that data, variant, rungs, study and row set on top of the scale's experiment."""
        fields: dict[str, object] = {}
        if self.data is not None:
            name, _, argument = self.data.partition(":")
            plugins.load("harness.data.sets", name, "data set")
            fields = {"data.name": name, "data.argument": argument}
        fields |= (
            self.scale.variant(row.variant)
            | self.scale.rungs(self.study.rungs | row.rungs)
            | self.study.fields
            | row.fields
        )
        of_scale: dict[str, Any] = flat(self.scale.experiment)
        known = of_scale | fields
        return fields | {path: known.get(path, 0.0) * factor for path, factor in row.times.items()}

    def _set_fields(self) -> list[tuple[str, str]]:
        """The fields that the user set, by full dotted path."""
        full = []
        for path, value in self.fields:
            if path in OPTION_FIELDS:
                raise Mistake(f"{path} is set by --seeds, --scale or --data")
            full.append((full_path(path), value))
        return full

    def check_fields(self, by_row: Mapping[Row, Experiment]) -> None:
        """Raises `Mistake` for a setting that has no influence on any row: it would be ignored silently.

        A setting that switches a part off has an influence, a setting of that part has none.
        """
        effective = {row: effective_fields(experiment) for row, experiment in by_row.items()}
        for path, _ in self._set_fields():
            if any(path in fields for fields in effective.values()):
                continue
            others = {other: value for other, value in self._set_fields() if other != path}
            if all(self._effective_of(row, others) == effective[row] for row in by_row):
                raise Mistake(f"{path} has no influence on any of these rows: the part that it belongs to is off")

    def _effective_of(self, row: Row, settings: Mapping[str, object]) -> dict[str, object] | None:
        """The fields of a row that have an influence with these settings; None if the settings do not fit."""
        try:
            return effective_fields(with_fields(self.scale.experiment, self._declared(row) | dict(settings)))
        except Mistake:
            return None

    def to_json(self) -> dict[str, Any]:
        """The request as JSON types; `harness.experiments.stored_requests.request_from_json` is the inverse."""
        return {
            "study": self.name,
            "scale": self.scale.experiment.scale,
            "data": self.data,
            "fields": self.fields,
            "rows": self.rows,
            "seeds": self.seeds,
            "command": self.command,
        }


def _from_here(data: str) -> str:
    """NAME:ARGUMENT as a command in the working folder names it."""
    name, colon, argument = data.partition(":")
    return f"{name}{colon}{paths.from_here(argument) if argument else ''}"


@dataclass(frozen=True)
class AblationRequest(Request):
    """A request for a table.

    With `max_seeds` it grows by planned looks, until its primary claims are decided or it has so many seeds. For each
    tokenizer there are `generator_seeds` generators, and for each of them `sampling_seeds` sets of samples.
    `tokenizers` from outside are further rows of the study, also where it names others.
    """

    study: Ablation
    max_seeds: int = 0
    generator_seeds: int = 1
    sampling_seeds: int = 1
    tokenizers: tuple[OutsideRow, ...] = ()

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which it is looked at; empty if it has a fixed number."""
        return looks(self.max_seeds) if self.max_seeds else ()

    @property
    def options(self) -> list[str]:
        fixed = dataclasses.replace(self, seeds=1) if self.max_seeds else self
        words = [*super(AblationRequest, fixed).options]
        words += ["--until-decided", "--max-seeds", str(self.max_seeds)] if self.max_seeds else []
        words += ["--generator-seeds", str(self.generator_seeds)] if self.generator_seeds > 1 else []
        words += ["--sampling-seeds", str(self.sampling_seeds)] if self.sampling_seeds > 1 else []
        for tokenizer in self.tokenizers:
            words += ["--tokenizer", tokenizer.from_here]
        return words

    def to_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name, default in COUNTS.items() if getattr(self, name) != default}
        outside = {"tokenizers": [t._asdict() for t in self.tokenizers]} if self.tokenizers else {}
        return super().to_json() | counts | outside

    @property
    def page(self) -> str:
        """study-scale, the data set if not the scale's, digits that stand for all other settings."""
        parts = [self.name, self.scale.experiment.scale]
        parts += [self.data.partition(":")[0]] if self.data else []
        special: list[Any] = [self.data, self.fields, self.rows]
        special += [[t.sha256 for t in self.tokenizers]] if self.tokenizers else []
        parts += [key_of(special)[:6]] if any(special) else []
        return "-".join(parts)

    @property
    def command(self) -> str:
        return shlex.join(["python", "-m", "harness.ablate", self.name, *self.options])

    def chosen_rows(self) -> list[Row]:
        chosen, added = super().chosen_rows(), {tokenizer.source for tokenizer in self.tokenizers}
        return [row for row in self.study.rows if row in chosen or row.fields.get("tokenizer.outside.source") in added]

    def experiments(self) -> dict[Row, list[Experiment]]:
        chosen = self.chosen_rows()
        by_row = {row: self.experiment(row) for row in chosen}
        self.check_fields(by_row)
        for row in chosen:
            if row.base is not None:
                differing = differences(self.experiment(self.study.row(row.base)), by_row[row])
                if len(differing) != 1:
                    raise Mistake(
                        f"row {row.name!r} should differ from {row.base!r} in one field, but with these settings it "
                        f"differs in {', '.join(differing) or 'none'}"
                    )
        repeats = (self.generator_seeds, self.sampling_seeds)
        if max(repeats) > 1 and not any(experiment.generator.on for experiment in by_row.values()):
            raise Mistake("--generator-seeds and --sampling-seeds have no influence: no row has a generator")
        return {row: with_seeds(experiment, self.seeds, *repeats) for row, experiment in by_row.items()}

    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        return stages_of_row(experiment)


def stages_of_row(experiment: Experiment) -> tuple[str, ...]:
    """The stages that a row of a table reads; their inputs follow from them."""
    linear = ("pca", *(("linear_gaussian",) if experiment.tokenizer.gaussian.on else ()))
    generator_stages = ("generator_snapshots", "generation") if experiment.generator.on else ()
    added: tuple[str, ...] = ("plugin_metrics",) if plugin_metrics.metrics(generated=False) else ()
    added += ("plugin_generation",) if generator_stages and plugin_metrics.metrics(generated=True) else ()
    transfer = ("transfer",) if experiment.evaluation.transfer is not None else ()
    trained = () if experiment.tokenizer.outside.on else ("snapshots",)
    return ("difficulty", *linear, *trained, "evaluation", "pca_active", *transfer, *generator_stages, *added)


ROW = "row"  # the name of the choice between several rows in Optuna


@dataclass(frozen=True)
class Point:
    """A point of a space: a row, and a value for every swept field."""

    row: str
    values: tuple[tuple[str, Number], ...]


@dataclass(frozen=True)
class SweepRequest(Request):
    """A request for a sweep: also its space if it is not the declared one, its objectives, and its points so far.

    `words` are the other words of the command: sampler, pruner, trials, storage.
    """

    study: Sweep
    space: tuple[str, ...] = ()
    objective: str = ""
    points: tuple[Point, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the request, or else of the study."""
        return objectives(self.objective or self.study.objective)

    @property
    def page(self) -> str:
        """study-scale-objectives, the data set if not the scale's, seeds if several, digits for other settings."""
        parts = [self.name, self.scale.experiment.scale, *(o.metric for o in self.objectives)]
        parts += [self.data.partition(":")[0]] if self.data else []
        parts += [f"{self.seeds}-seeds"] if self.seeds > 1 else []
        special = [self.data, self.fields, self.rows, self.space]
        return "-".join([*parts, key_of(special)[:6]] if any(special) else parts)

    @property
    def command(self) -> str:
        words = ["python", "-m", "harness.sweep", self.name]
        words += ["--objective", self.objective] if self.objective else []
        for text in self.space:
            words += ["--space", text]
        return shlex.join([*words, *self.options, *self.words])

    def stages(self, experiment: Experiment) -> tuple[str, ...]:
        return stages(self.objectives)

    def chosen_rows(self) -> list[Row]:
        rows = super().chosen_rows()
        return [row for row in rows if self.rows or not self.study.chosen or row.name in self.study.chosen]

    @functools.cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The space in absolute values; raises `Mistake` if an axis has no influence on a row or does not fit."""
        declared = tuple(map(axis, self.space)) or self.study.space
        if not declared:
            raise Mistake(f"{self.name} declares no space: name one by --space FIELD=LOW:HIGH or FIELD=A,B,C")
        if len({a.field for a in declared}) < len(declared):
            raise Mistake("--space names a field twice")
        bases = {row: self.experiment(row) for row in self.chosen_rows()}
        self.check_fields(bases)
        axes = tuple(a.of(next(iter(bases.values()))) for a in declared)
        for a in axes:
            if a.field in OPTION_FIELDS:
                raise Mistake(f"{a.field} is set by --seeds, --scale or --data")
            if any(a.field == full_path(path) for path, _ in self.fields):
                raise Mistake(f"{a.field} is swept: --set cannot fix it")
        for a, row in itertools.product(axes, bases):
            for value in a.values:
                self._require_influence(row, a, value, axes)
        return axes

    def _require_influence(self, row: Row, a: Axis, value: Number, axes: Sequence[Axis]) -> None:
        """Raises `Mistake` if a value of an axis has no influence on `row`, or fits no values of the other axes."""
        others = [[(b.field, v) for v in b.values] for b in axes if b is not a]
        refusal: Mistake | None = None
        for combination in ((), *itertools.product(*others)):
            try:
                experiment = self.experiment(row, {**dict(combination), a.field: value})
            except Mistake as mistake:
                refusal = refusal or mistake
                continue
            if a.field not in effective_fields(experiment):
                raise Mistake(f"{a.field} has no influence on the row {row.name!r}: its part is off")
            return
        if refusal is not None:
            raise refusal

    def grid(self) -> list[Point]:
        """Every point of the grid once, row by row; raises `Mistake` if an axis has no grid."""
        axes = self.axes
        for a in axes:
            if not a.grid:
                raise Mistake(f"{a.field} has a range and no grid: name {a.field}=A,B,C or another --sampler")
        values = itertools.product(*(a.grid for a in axes))
        combinations = [tuple(zip((a.field for a in axes), chosen, strict=True)) for chosen in values]
        return [Point(row.name, chosen) for row in self.chosen_rows() for chosen in combinations]

    def parameters(self, point: Point) -> dict[str, Any]:
        """The parameters of a point, by their names in Optuna."""
        row = {ROW: point.row} if len(self.chosen_rows()) > 1 else {}
        return row | {a.name: value for a, (_, value) in zip(self.axes, point.values, strict=True)}

    def point(self, parameters: Mapping[str, Any]) -> Point:
        """The inverse of `parameters`."""
        row = parameters[ROW] if len(self.chosen_rows()) > 1 else self.chosen_rows()[0].name
        return Point(row, tuple((a.field, parameters[a.name]) for a in self.axes))

    def middle(self) -> Point:
        """A point in the middle of the space; the cost of a trial is estimated there."""
        values = [
            a.grid[len(a.grid) // 2] if a.low is None or a.high is None else type(a.low)((a.low + a.high) / 2)
            for a in self.axes
        ]
        fields = (a.field for a in self.axes)
        return Point(self.chosen_rows()[0].name, tuple(zip(fields, values, strict=True)))

    def with_point(self, point: Point) -> SweepRequest:
        """The same request with one more point."""
        return self if point in self.points else dataclasses.replace(self, points=(*self.points, point))

    def row_of(self, point: Point) -> Row:
        """The row of the page that stands for a point."""
        names = {a.field: a.name for a in self.axes}
        values = [f"{names[path]} = {value:.6g}" for path, value in point.values]
        row = self.study.row(point.row)
        label = ", ".join([*([row.name] if len(self.study.rows) > 1 else []), *values])
        return dataclasses.replace(row, name=label, fields=row.fields | dict(point.values))

    def experiments_of(self, point: Point) -> list[Experiment]:
        """The experiments of a point, one per seed; raises `Mistake` if its values do not fit together."""
        return with_seeds(self.experiment(self.study.row(point.row), dict(point.values)), self.seeds)

    def experiments(self) -> dict[Row, list[Experiment]]:
        return {self.row_of(point): self.experiments_of(point) for point in self.points}

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {
            "space": self.space,
            "objective": self.objective,
            "points": [{"row": point.row, "values": dict(point.values)} for point in self.points],
        }


def study_called(name: str, kind: type[Study] = Study) -> Ablation | Sweep:
    """The study of a kind that a file in `ablations/` declares; raises `Mistake`, which names those of the kind."""
    figures = [study for study in plugins.names("ablations") if study.startswith("fig")]
    if re.fullmatch(r"fig\d+", name) and not any(study.startswith(name) for study in figures):
        raise Mistake(
            f"no study mirrors figure {name[3:]} of the paper: what it measures is not known here. "
            f"Figures with a study: {', '.join(figures)}"
        )
    if name not in plugins.names("ablations"):
        raise plugins.no_such("study", name, studies_of(kind))
    study: Ablation | Sweep = plugins.load("ablations", name, "study").study
    if not isinstance(study, kind):
        raise Mistake(f"{name} is {study.about}: python -m harness.{study.command} {name} runs it")
    return study


def studies_of(kind: type[Study]) -> list[str]:
    """The names of the studies of a kind."""
    return [name for name in plugins.names("ablations") if isinstance(study_called(name), kind)]


def new_request(name: str, at: Scale, **parts: Any) -> AblationRequest | SweepRequest:
    """A request for the study called `name` at a scale; `parts` are the other fields of its class. Raises `Mistake`."""
    study = study_called(name)
    if isinstance(study, Sweep):
        return SweepRequest(name, study, at, **parts)
    if outside := parts.get("tokenizers"):
        added = outside_rows(outside, [row.name for row in study.rows])
        study = dataclasses.replace(study, rows=(*study.rows, *added))
    return AblationRequest(name, study, at, **parts)
