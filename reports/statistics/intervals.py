"""Intervals over seeds, families of tests, and rank correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from harness.evaluation.records import UNBOUNDED, number

LEVEL = 0.05

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Interval:
    """An estimate from `n` seeds or rows with its 95 % interval and the method of the interval.

    `p` is the two-sided p value of no effect; None if the interval has no test.
    """

    estimate: float
    low: float
    high: float
    n: int
    p: float | None = None
    method: str = ""


def finite(values: Sequence[float]) -> list[float]:
    """`values` unchanged; raises ValueError if one is NaN or infinite."""
    for value in values:
        if not isfinite(value):
            raise ValueError(f"{value} among {len(values)} values: an interval takes finite values")
    return list(values)


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % t interval around the mean of `values`, one value per seed; None for fewer than two."""
    import numpy as np
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(1 - LEVEL / 2, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else None


def shown(values: Sequence[float], digits: int, bounds: tuple[float, float] = UNBOUNDED) -> str:
    """The mean of `values` as text, with half of its 95 % t interval if there are several."""
    return with_interval(sum(values) / len(values), half_width(values), digits, bounds)


def with_interval(
    mean: float, half: float | None, digits: int, bounds: tuple[float, float] = UNBOUNDED, sign: bool = False
) -> str:
    """A mean ± half of its interval as text, or its [low, high] where a bound of what is possible cuts it.

    An estimate may lie beyond a bound of the truth: its interval is not cut.
    """
    inside = bounds[0] <= mean - half and mean + half <= bounds[1] if half is not None else True
    if half is None or inside or not bounds[0] <= mean <= bounds[1]:
        return number(mean, digits, half, sign=sign)
    return number(mean, digits, interval=(max(mean - half, bounds[0]), min(mean + half, bounds[1])), sign=sign)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted as one family, in the same order: at most 5 % of families have a false positive at 5 %.

    The tests may depend on each other in any way (Holm 1979, "A simple sequentially rejective multiple test
    procedure"). None, for a test without data, does not count in the family and stays None. Raises ValueError for
    values outside [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    made = [p for p in p_values if p is not None]
    for p in made:
        if not 0 <= p <= 1:
            raise ValueError(f"{p} is no p value")
    adjusted = iter(multipletests(made, method="holm")[1].tolist() if made else [])
    return [None if p is None else next(adjusted) for p in p_values]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or if one side does not vary."""
    from scipy.stats import spearmanr

    a, b = ([pair[k] for pair in pairs] for k in (0, 1))
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 and len(pairs) > 2 else None
