"""Studies: ablations, one file each in `ablations/`, and the experiments that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.experiments.claims import Claim
from harness.system.errors import unknown


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
