"""Differences between rows and their bases, paired by seed: intervals, Holm's adjustment, detectable differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from harness.evaluation.records import digits_of, heading
from reports.results import Result, protocol_of, rows_of
from reports.statistics import intervals
from reports.tables import markdown

Column = tuple[str, str, str]  # metric, split, stage

LEGEND = (
    "± is half of the 95 % t interval. \\*: the interval does not hold 0. \\*\\*: the difference also stands when all "
    "differences of the table count as one family (Holm)."
)


@dataclass(frozen=True)
class Differences:
    """The differences of some metrics between every row and its base."""

    results: Sequence[Result]
    metrics: Sequence[Column]

    @cached_property
    def rows(self) -> dict[str, list[Result]]:
        """The rows whose base is among the results."""
        rows = rows_of(self.results)
        return {name: seeds for name, seeds in rows.items() if seeds[0].row.base in rows}

    @cached_property
    def values(self) -> dict[tuple[str, str], list[float]]:
        """The differences by row and metric, one for every seed that row and base share."""
        rows, differences = rows_of(self.results), {}
        for name, seeds in self.rows.items():
            for metric, split, stage in self.metrics:
                base = {r.experiment.seed: r.value(metric, split, stage) for r in rows[seeds[0].row.base or ""]}
                pairs = [(r.value(metric, split, stage), base.get(r.experiment.seed)) for r in seeds]
                values = [a.value - b.value for a, b in pairs if a is not None and b is not None]
                differences[name, metric] = [value for value in values if isfinite(value)]
        return differences

    @cached_property
    def marks(self) -> dict[tuple[str, str], str]:
        """* if the interval does not hold 0, ** if the difference also stands after Holm's adjustment."""
        tested = {key: intervals.paired(values) for key, values in self.values.items() if values}
        p_values = [interval.p if interval else None for interval in tested.values()]
        return {
            key: " " + "\\*" * ((p is not None and p <= intervals.LEVEL) + (q is not None and q <= intervals.LEVEL))
            for key, p, q in zip(tested, p_values, intervals.holm(p_values), strict=True)
        }

    def table(self) -> str:
        """The table of mean differences ± half of their intervals; empty if no row has a base."""
        return self._table(self._mean)

    def detectable_table(self) -> str:
        """The table of the smallest differences that 80 % of studies detect; empty if there are none."""
        estimable = any(intervals.smallest_detectable(values) is not None for values in self.values.values() if values)
        return self._table(self._detectable) if estimable else ""

    def _table(self, text: Callable[[str, str, int], str]) -> str:
        lines = []
        heads = {metric: heading(metric, protocol_of(self.results, metric, *at)) for metric, *at in self.metrics}
        for name, seeds in self.rows.items():
            line = {"row": name, "minus": seeds[0].row.base or ""}
            for metric, head in heads.items():
                line[head] = text(name, metric, len(seeds))
            lines.append(line)
        return markdown(lines) if lines else ""

    def _digits(self, metric: str) -> int:
        at = next(at for name, *at in self.metrics if name == metric)
        return digits_of(metric, protocol_of(self.results, metric, *at))

    def _mean(self, name: str, metric: str, seeds: int) -> str:
        values = self.values[name, metric]
        if not values:
            return "–"
        text = (intervals.shown(values, self._digits(metric), sign=True) + self.marks[name, metric]).rstrip()
        return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"

    def _detectable(self, name: str, metric: str, seeds: int) -> str:
        values = self.values[name, metric]
        least = intervals.smallest_detectable(values) if values else None
        return "–" if least is None else f"{least:.{self._digits(metric)}f}"
