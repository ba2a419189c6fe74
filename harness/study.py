"""Studies: ablations, one file each in `ablations/`, and the experiments that they stand for."""

from __future__ import annotations

import csv
import dataclasses
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import plugins
from harness.claim import Claim
from harness.errors import Mistake, unknown
from harness.experiment import Experiment, differences, flat, full_path, heeded, key_of, with_fields, with_variant
from harness.plan import wanted
from harness.scales import Scale

PUBLISHED = Path(__file__).resolve().parent.parent / "ablations"


@dataclass(frozen=True)
class Row:
    """One row: a variant, alone as a foil or, with a `base`, one field away from the row that it names.

    `fields` are set on top of the variant; `times` multiply what the scale has. `published` is the name of the row in
    the paper's table, where it has one. `rungs` are those of the scale's ladders, by ladder.
    """

    name: str
    variant: str
    base: str | None = None
    published: str | None = None
    fields: dict[str, object] = field(default_factory=dict, hash=False)
    times: dict[str, float] = field(default_factory=dict, hash=False)
    rungs: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Study:
    """What every study declares: the question that it answers, its rows, what all rows set, remarks for its page, and
    what the paper claims of it.
    """

    title: str
    question: str
    rows: tuple[Row, ...]
    fields: dict[str, object] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    claims: tuple[Claim, ...] = field(default=(), kw_only=True)

    def row(self, name: str) -> Row:
        """The row called `name`; raises `Mistake`."""
        if name not in (names := [row.name for row in self.rows]):
            raise unknown("row", name, names)
        return self.rows[names.index(name)]


@dataclass(frozen=True)
class Ablation(Study):
    """A table, beside the published one that it mirrors."""

    published_table: str


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
        plugins.load("harness.data", name, "data set")
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


def published(table: str) -> dict[str, dict[str, str]]:
    """The published rows of a table of the paper, by name: every column as printed there.

    Of a table of systems, which print numbers with and without guidance, `gfid` and `is` are those with it.
    """
    rows = {row["row"]: row for row in _printed("published_ablations.csv", table)}
    systems = _printed("published_systems.csv", table)
    return rows | {row["method"]: row | {"gfid": row["gfid_cfg"], "is": row["is_cfg"]} for row in systems}


def _printed(name: str, table: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["table"] == table]
