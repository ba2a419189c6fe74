"""The numbers that the store keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One number and its context: images N, training step, split and protocol.

    `deviation` is the standard deviation over the subsets of the protocol, if it has subsets; `interval` is a 95 %
    interval, if there is one. Two numbers may be compared if their `protocol_id` is the same.
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
    """The record of a JSON object."""
    return Record(**stored, interval=None if interval is None else (interval[0], interval[1]))
