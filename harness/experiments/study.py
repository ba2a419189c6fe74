"""Studies and their rows; every study is one file in `ablations/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import ClassVar

from harness.experiments.claims import Claim
from harness.system.errors import Mistake, did_you_mean, repeated


@dataclass(frozen=True)
class Row:
    """One row: a variant. With a `base` it differs from that row in one field, without one it stands alone.

    `fields` are set on top of the variant; `times` multiply the values of the scale. `published` is the name of the
    row in the paper's table, if it has one. `rungs` are the chosen rungs of the scale's ladders, by ladder.
    """

    name: str
    variant: str
    base: str | None = None
    published: str | None = None
    fields: dict[str, object] = field(default_factory=dict, hash=False)
    times: dict[str, float] = field(default_factory=dict, hash=False)
    rungs: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _require_types(self, {"name": str, "variant": str, "fields": dict, "times": dict, "rungs": dict})
        if not self.name.isprintable():
            raise Mistake(f"the name of a row is one line that can be printed, not {self.name!r}")


@dataclass(frozen=True)
class Study:
    """A study: its question, its rows, the fields and rungs of all rows, notes for its page, claims of the paper.

    A note that names rows, between backticks, stands only on pages that have all of them. `published_table` is the
    table of the paper whose numbers stand beside ours; empty if there is none.
    """

    about: ClassVar[str]  # the kind in words, and the command that runs it
    command: ClassVar[str]

    title: str
    question: str
    rows: tuple[Row, ...]
    fields: dict[str, object] = field(default_factory=dict, kw_only=True)
    rungs: dict[str, str] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    claims: tuple[Claim, ...] = field(default=(), kw_only=True)
    published_table: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        texts, lists = ("title", "question", "published_table"), ("rows", "notes", "claims")
        _require_types(self, {**dict.fromkeys(texts, str), **dict.fromkeys(lists, tuple | list), "fields": dict})
        for part, kind in (("rows", Row), ("claims", Claim)):
            if other := [type(value).__name__ for value in getattr(self, part) if not isinstance(value, kind)]:
                raise TypeError(f"{part} hold a {other[0]}")
        if twice := repeated([row.name for row in self.rows]):
            raise ValueError(f"two rows are called {twice[0]}")

    def row(self, name: str) -> Row:
        """The row called `name`; raises `Mistake`."""
        if name not in (names := [row.name for row in self.rows]):
            raise self.no_row(name)
        return self.rows[names.index(name)]

    def no_row(self, name: str) -> Mistake:
        """The error for a row that is not there; the nearest match may be a variant."""
        names = [row.name for row in self.rows]
        variants = [row.variant for row in self.rows if row.variant not in names]
        hint = did_you_mean(name, [*names, *variants])
        return Mistake(f"unknown row {name!r}.{hint} Choices: {', '.join(names)}, or their variants")

    def names_in(self, text: str) -> tuple[str, ...]:
        """The names of rows and variants in a list A,B. A name may hold commas itself: the longest one is taken."""
        known = {name for row in self.rows for name in (row.name, row.variant)}
        most = 1 + max((name.count(",") for name in known), default=0)
        parts, names = text.split(","), []
        while parts:
            joined = {count: ",".join(parts[:count]).strip() for count in range(most, 0, -1)}
            count = next((count for count, name in joined.items() if name in known), 1)
            names.append(joined[count])
            parts = parts[count:]
        return tuple(name for name in names if name)


def _require_types(declared: object, types: Mapping[str, type | UnionType]) -> None:
    """Raises TypeError for a part of a declaration that is of another type, which a draft of a user's may be."""
    for name, needed in types.items():
        if not isinstance(found := getattr(declared, name), needed):
            raise TypeError(f"{name} is {found!r}")


FIGURES = ("curves", "generator", "probe")  # of a page, that its study can be about


@dataclass(frozen=True)
class Ablation(Study):
    """A table, which may mirror a published one.

    `figure` is the figure of the page that comes first, for a study that mirrors a figure: one of `FIGURES`. `hides`
    names metrics that its tables leave out. Raises ValueError for another figure.
    """

    about, command = "an ablation", "ablate"

    figure: str = field(default="", kw_only=True)
    hides: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.figure and self.figure not in FIGURES:
            raise ValueError(f"figure {self.figure!r}: none of {', '.join(FIGURES)}")
