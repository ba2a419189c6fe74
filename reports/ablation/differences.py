"""Differences between rows and their bases, paired by seed: intervals, Holm's adjustment, detectable differences.

Where rows add parts one after another, the last one is also compared with the first: with all parts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from harness.evaluation.records import digits_of, heading, number
from reports.results import Result, by_row_and_seed, protocol_of, rows_of, share_training
from reports.statistics import intervals, power
from reports.statistics.intervals import LEVEL
from reports.statistics.model import Effect, difference
from reports.tables import markdown

Column = tuple[str, str, str]  # metric, split, stage
Pair = tuple[str, str]  # a row, and the row that is subtracted

LEGEND = (
    "± is half of the 95 % t interval. Its noise is estimated from row and base, and, unless these share a tokenizer, "
    "from other rows that are equally noisy. \\*: the interval does not contain 0. \\*\\*: nor does it after Holm's "
    "correction for all differences of the table."
)


@dataclass(frozen=True)
class Differences:
    """The differences of some metrics between rows and their bases."""

    results: Sequence[Result]
    metrics: Sequence[Column]

    @cached_property
    def rows(self) -> dict[str, list[Result]]:
        """The results by row."""
        return rows_of(self.results)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every row with its base, and the end of every chain of bases with its beginning, where there are results."""
        bases = {name: base for name, seeds in self.rows.items() if (base := seeds[0].row.base) in self.rows and base}
        ends = [name for name in bases if name not in bases.values()]
        chains = [(name, beginning) for name in ends if (beginning := _beginning(name, bases)) != bases[name]]
        return [*bases.items(), *chains]

    @cached_property
    def values(self) -> dict[str, dict[str, dict[int, float]]]:
        """The values by metric, row and seed, as far as they are finite."""
        return {
            metric: by_row_and_seed(self.results, partial(Result.number, metric=metric, split=split, stage=stage))
            for metric, split, stage in self.metrics
        }

    def comparable(self, pair: Pair, metric: str) -> bool:
        """Whether both rows are measured on the same images, in every seed."""
        stage = next(stage for of, _, stage in self.metrics if of == metric)
        row, base = (self.rows[name] for name in pair)
        return all(one.comparable(other, stage) for one in row for other in base)

    def differences(self, pair: Pair, metric: str) -> list[float]:
        """One row minus the other, for every seed that both have; none if they are measured on different images."""
        if not self.comparable(pair, metric):
            return []
        row, base = (self.values[metric].get(name, {}) for name in pair)
        return [value - base[seed] for seed, value in row.items() if seed in base]

    @cached_property
    def effects(self) -> dict[tuple[Pair, str], Effect | None]:
        """Every difference with its noise, by pair and metric; None for fewer than two seeds."""
        return {
            (pair, metric): difference(self._values_for(pair, metric), *pair, 10.0 ** -self._digits(metric))
            for pair in self.pairs
            for metric, *_ in self.metrics
            if self.differences(pair, metric)
        }

    def _values_for(self, pair: Pair, metric: str) -> dict[str, dict[int, float]]:
        """The values that tell the noise of a pair: of all rows, unless the two share a tokenizer."""
        values = self.values[metric]
        return {name: values.get(name, {}) for name in pair} if share_training(self.results, *pair) else values

    @cached_property
    def marks(self) -> dict[tuple[Pair, str], str]:
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

    def _table(self, text: Callable[[Pair, str], str]) -> str:
        lines = []
        heads = {metric: heading(metric, protocol_of(self.results, metric, *at)) for metric, *at in self.metrics}
        for pair in self.pairs:
            row, base = pair
            lines.append({"row": row, "minus": base} | {head: text(pair, metric) for metric, head in heads.items()})
        return markdown(lines) if lines else ""

    def _digits(self, metric: str) -> int:
        at = next(at for name, *at in self.metrics if name == metric)
        return digits_of(metric, protocol_of(self.results, metric, *at))

    def _mean(self, pair: Pair, metric: str) -> str:
        values, seeds = self.differences(pair, metric), len(self.rows[pair[0]])
        if not values:
            return "–" if self.comparable(pair, metric) else "other images"
        effect = self.effects[pair, metric]
        text = number(
            sum(values) / len(values), self._digits(metric), effect.half_width() if effect else None, sign=True
        )
        text = (text + self.marks[pair, metric]).rstrip()
        return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"

    def _detectable(self, pair: Pair, metric: str) -> str:
        effect = self.effects.get((pair, metric))
        if effect is None:
            return "–"
        tests = sum(other is not None for other in self.effects.values())
        found = power.detectable(effect.deviation, effect.n, effect.freedom, LEVEL / tests)
        return f"{found:.{self._digits(metric)}f}"


def _beginning(name: str, bases: Mapping[str, str]) -> str:
    """The first row of the chain of bases that a row ends."""
    while name in bases:
        name = bases[name]
    return name
