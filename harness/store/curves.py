"""The curves of a run: metrics.csv, step, metric and value over time."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store.runs import Run


def curve_of(run: Run, metric: str) -> Iterable[tuple[int, float]]:
    """Step and value of a metric in what a run has logged so far."""
    try:
        with (run.folder / "metrics.csv").open(newline="") as file:
            return [(int(r["step"]), float(r["value"])) for r in csv.DictReader(file) if r["metric"] == metric]
    except (OSError, ValueError, TypeError):  # not there yet, or just being written
        return []


METRICS_HEADER = "step,metric,value\n"
