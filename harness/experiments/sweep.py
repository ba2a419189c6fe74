"""Sweeps, one file each in `ablations/`: the space that is searched, what is claimed of it, and what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.experiments.axis import Axis, Number
from harness.experiments.study import Study


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
