"""A number as the store keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One number with what it takes to read it: images N, training step, split and protocol.

    `deviation` is the standard deviation over the subsets that the protocol names, where it has any, `interval` a 95 %
    interval, where there is one. Two numbers may be compared where their `protocol_id` is the same.
    """

    metric: str
    value: float
    n: int
    step: int
    split: str
    protocol: str
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    protocol_id: str = ""


def record_from(interval: list[float] | None = None, **stored: Any) -> Record:
    """A record as JSON gave it back."""
    return Record(**stored, interval=None if interval is None else (interval[0], interval[1]))
