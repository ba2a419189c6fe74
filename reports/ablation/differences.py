"""Row minus base, paired by seed: with intervals, together by Holm, and what so many seeds could have seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from harness.evaluation.records import digits_of, heading
from reports.results import Result, protocol_of, rows_of
from reports.statistics import intervals
from reports.tables import markdown

Where = tuple[str, str, str]  # metric, split, stage

LEGEND = (
    "± is half of the 95 % t interval. \\*: it does not hold 0. \\*\\*: nor once all differences of the table count "
    "as one family (Holm)."
)


@dataclass(frozen=True)
class Differences:
    """What every row changes of some metrics, against the row that it is based on."""

    results: Sequence[Result]
    metrics: Sequence[Where]

    @cached_property
    def rows(self) -> dict[str, list[Result]]:
        """Those that have their base beside them."""
        rows = rows_of(self.results)
        return {name: seeds for name, seeds in rows.items() if seeds[0].row.base in rows}

    @cached_property
    def found(self) -> dict[tuple[str, str], list[float]]:
        """The differences by row and metric, one a seed that both have."""
        rows, found = rows_of(self.results), {}
        for name, seeds in self.rows.items():
            for metric, split, stage in self.metrics:
                base = {r.experiment.seed: r.value(metric, split, stage) for r in rows[seeds[0].row.base or ""]}
                pairs = [(r.value(metric, split, stage), base.get(r.experiment.seed)) for r in seeds]
                values = [a.value - b.value for a, b in pairs if a is not None and b is not None]
                found[name, metric] = [value for value in values if isfinite(value)]
        return found

    @cached_property
    def marks(self) -> dict[tuple[str, str], str]:
        """* where the interval does not hold 0, ** where it does not after Holm's adjustment either."""
        tested = {place: intervals.paired(values) for place, values in self.found.items() if values}
        p_values = [interval.p if interval else None for interval in tested.values()]
        return {
            place: " " + "\\*" * ((p is not None and p <= intervals.LEVEL) + (q is not None and q <= intervals.LEVEL))
            for place, p, q in zip(tested, p_values, intervals.holm(p_values), strict=True)
        }

    def table(self) -> str:
        """Means with half of their intervals; empty where no row has a base."""
        return self._table(self._shown)

    def detectable_table(self) -> str:
        """The smallest true difference that so many seeds, as noisy as these, show in 80 % of studies."""
        could = any(intervals.smallest_detectable(values) is not None for values in self.found.values() if values)
        return self._table(self._detectable) if could else ""

    def _table(self, text: Callable[[str, str, int], str]) -> str:
        lines = []
        heads = {metric: heading(metric, protocol_of(self.results, metric, *where)) for metric, *where in self.metrics}
        for name, seeds in self.rows.items():
            line = {"row": name, "minus": seeds[0].row.base or ""}
            for metric, head in heads.items():
                line[head] = text(name, metric, len(seeds))
            lines.append(line)
        return markdown(lines) if lines else ""

    def _digits(self, metric: str) -> int:
        where = next(where for name, *where in self.metrics if name == metric)
        return digits_of(metric, protocol_of(self.results, metric, *where))

    def _shown(self, name: str, metric: str, seeds: int) -> str:
        values = self.found[name, metric]
        if not values:
            return "–"
        text = (intervals.shown(values, self._digits(metric), sign=True) + self.marks[name, metric]).rstrip()
        return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"

    def _detectable(self, name: str, metric: str, seeds: int) -> str:
        values = self.found[name, metric]
        least = intervals.smallest_detectable(values) if values else None
        return "–" if least is None else f"{least:.{self._digits(metric)}f}"
