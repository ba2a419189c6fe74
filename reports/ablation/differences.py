"""Differences between rows and their bases, paired by seed: intervals, Holm's adjustment, detectable differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from harness.evaluation.records import digits_of, heading, number
from reports.results import Result, by_row_and_seed, protocol_of, rows_of
from reports.statistics import intervals, power
from reports.statistics.intervals import LEVEL
from reports.statistics.model import Effect, difference
from reports.tables import markdown

Column = tuple[str, str, str]  # metric, split, stage

LEGEND = (
    "± is half of the 95 % t interval. Its noise is estimated from row and base, and from other rows that are equally "
    "noisy. \\*: the interval does not contain 0. \\*\\*: nor does it after Holm's correction for all differences of "
    "the table."
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
    def values(self) -> dict[str, dict[str, dict[int, float]]]:
        """The values by metric, row and seed, as far as they are finite."""
        return {
            metric: by_row_and_seed(self.results, partial(Result.number, metric=metric, split=split, stage=stage))
            for metric, split, stage in self.metrics
        }

    def comparable(self, name: str, metric: str) -> bool:
        """Whether row and base are measured on the same images, in every seed."""
        stage = next(stage for of, _, stage in self.metrics if of == metric)
        row, base = (rows_of(self.results)[of] for of in (name, self._base(name)))
        return all(one.comparable(other, stage) for one in row for other in base)

    def differences(self, name: str, metric: str) -> list[float]:
        """Row minus base, one for every seed that both have; none if they are measured on different images."""
        if not self.comparable(name, metric):
            return []
        rows = self.values[metric]
        row, base = rows.get(name, {}), rows.get(self._base(name), {})
        return [value - base[seed] for seed, value in row.items() if seed in base]

    @cached_property
    def effects(self) -> dict[tuple[str, str], Effect | None]:
        """Every difference with its noise, by row and metric; None for fewer than two seeds."""
        return {
            (name, metric): difference(self.values[metric], name, self._base(name), 10.0 ** -self._digits(metric))
            for name in self.rows
            for metric, *_ in self.metrics
            if self.differences(name, metric)
        }

    def _base(self, name: str) -> str:
        return self.rows[name][0].row.base or ""

    @cached_property
    def marks(self) -> dict[tuple[str, str], str]:
        """* if the interval does not hold 0, ** if the difference also stands after Holm's adjustment."""
        p_values = [effect.tested(+1)[1] if effect else None for effect in self.effects.values()]
        return {
            key: " " + "\\*" * ((p is not None and p <= LEVEL) + (q is not None and q <= LEVEL))
            for key, p, q in zip(self.effects, p_values, intervals.holm(p_values), strict=True)
        }

    def table(self) -> str:
        """The table of mean differences ± half of their intervals; empty if no row has a base."""
        return self._table(self._mean)

    def detectable_table(self) -> str:
        """The table of the smallest differences that 80 % of studies detect in this family; empty if there are none."""
        return self._table(self._detectable) if any(self.effects.values()) else ""

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
        values = self.differences(name, metric)
        if not values:
            return "–" if self.comparable(name, metric) else "other images"
        effect = self.effects[name, metric]
        text = number(
            sum(values) / len(values), self._digits(metric), effect.half_width() if effect else None, sign=True
        )
        text = (text + self.marks[name, metric]).rstrip()
        return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"

    def _detectable(self, name: str, metric: str, seeds: int) -> str:
        effect = self.effects.get((name, metric))
        if effect is None:
            return "–"
        tests = sum(other is not None for other in self.effects.values())
        found = power.detectable(effect.deviation, effect.n, effect.freedom, LEVEL / tests)
        return f"{found:.{self._digits(metric)}f}"
