"""Studies: ablations, one file each in `ablations/`, and the experiments that they stand for."""

from __future__ import annotations

import csv
import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from harness import plugins
from harness.errors import Mistake, unknown
from harness.experiment import Experiment, differences, heeded, key_of, with_fields, with_variant
from harness.scales import Scale

PUBLISHED = Path(__file__).resolve().parent.parent / "ablations"


@dataclass(frozen=True)
class Row:
    """One row: a variant, alone as a foil or, with a `base`, one field away from the row that it names.

    `fields` are set on top of the variant. `published` is the name of the row in the paper's table, where it has one.
    """

    name: str
    variant: str
    base: str | None = None
    published: str | None = None
    fields: dict[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Ablation:
    """A table: the question that it answers, its rows, the published table that it mirrors, what all rows set."""

    title: str
    question: str
    published_table: str
    rows: tuple[Row, ...]
    fields: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """The row called `name`."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class Asked:
    """What a user asked of a study: at which scale, on which data, with which fields set, which rows and seeds."""

    name: str
    study: Ablation
    scale: Scale
    data: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int = 1

    @property
    def page(self) -> str:
        """The name of its page: study-scale, the data set if not the scale's, digits for chosen rows and fields."""
        parts = [self.name, self.scale.experiment.scale]
        parts += [self.data.partition(":")[0]] if self.data else []
        parts += [key_of([self.data, self.fields, self.rows])[:6]] if self.fields or self.rows or self.data else []
        return "-".join(parts)

    @property
    def command(self) -> str:
        """What asks the same again."""
        words = ["python", "-m", "harness.ablate", self.name, "--scale", self.scale.experiment.scale]
        words += ["--data", self.data] if self.data else []
        words += ["--rows", ",".join(self.rows)] if self.rows else []
        words += ["--seeds", str(self.seeds)] if self.seeds > 1 else []
        for path, value in self.fields:
            words += ["--set", f"{path}={value}"]
        return shlex.join(words)

    def experiments(self) -> dict[Row, list[Experiment]]:
        """The experiments of every row, one a seed; raises `Mistake` for whatever does not exist or fit."""
        chosen = self._chosen_rows()
        by_row = {row: self.experiment(row) for row in chosen}
        self._check_fields(by_row)
        for row in chosen:
            if row.base is not None:
                differing = differences(self.experiment(self.study.row(row.base)), by_row[row])
                if len(differing) != 1:
                    raise Mistake(
                        f"row {row.name!r} should differ from {row.base!r} in one field, and with these settings "
                        f"differs in {', '.join(differing) or 'none'}"
                    )
        return {
            row: [dataclasses.replace(experiment, seed=seed) for seed in range(self.seeds)]
            for row, experiment in by_row.items()
        }

    def _chosen_rows(self) -> list[Row]:
        names = [row.name for row in self.study.rows]
        for name in self.rows:
            if name not in names and name not in [row.variant for row in self.study.rows]:
                raise unknown("row", name, names)
        return [r for r in self.study.rows if not self.rows or r.name in self.rows or r.variant in self.rows]

    def experiment(self, row: Row) -> Experiment:
        """The experiment of one row, seed 0."""
        return with_fields(self._as_declared(row), dict(self._full_fields()))

    def _as_declared(self, row: Row) -> Experiment:
        return with_fields(with_variant(self._base(), row.variant), self.study.fields | row.fields)

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
        inside = {f.name for f in dataclasses.fields(self.scale.experiment.tokenizer)}
        for path, value in self.fields:
            if path in ("seed", "scale", "data.name", "data.argument"):
                raise Mistake(f"{path} is set by --seeds, --scale or --data")
            full.append((f"tokenizer.{path}" if path.partition(".")[0] in inside else path, value))
        return full

    def _check_fields(self, by_row: dict[Row, Experiment]) -> None:
        """A setting that no row heeds would be a silent mistake."""
        of_rows: set[str] = set()
        for row, experiment in by_row.items():
            of_rows |= {*heeded(experiment), *heeded(self._as_declared(row))}
        for path, _ in self._full_fields():
            if path not in of_rows:
                raise Mistake(f"{path} has no influence on any of these rows: what it belongs to is off")


def published(table: str) -> dict[str, dict[str, str]]:
    """The published rows of an ablation table of the paper, by name: every column as printed there."""
    with (PUBLISHED / "published_ablations.csv").open(newline="") as file:
        return {row["row"]: row for row in csv.DictReader(file) if row["table"] == table}
