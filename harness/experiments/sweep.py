"""Sweeps: studies that search a space; every sweep is one file in `ablations/`."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.experiments.axis import Axis, Number
from harness.experiments.study import Study


@dataclass(frozen=True)
class Sweep(Study):
    """A space over rows that stand alone, and the objective, sampler and number of trials that are the default.

    `chosen` are the rows that run unless others are named; empty means all. `published` are the rows of the paper's
    table, by the value of the only axis.
    """

    about, command = "a sweep", "sweep"

    space: tuple[Axis, ...]
    objective: str
    sampler: str = "grid"
    trials: int | None = None
    chosen: tuple[str, ...] = ()
    published: dict[Number, str] = field(default_factory=dict)
