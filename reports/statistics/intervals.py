"""Intervals and tests over seeds: differences paired by seed, families of tests, verdicts on claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from harness.evaluation.records import number

LEVEL = 0.05
POWER = 0.8

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


def shown(values: Sequence[float], digits: int, sign: bool = False) -> str:
    """The mean of `values` as text, with half of its 95 % t interval if there are several."""
    mean, half = sum(values) / len(values), half_width(values)
    return number(mean, digits, half, sign=sign)


def paired(differences: Sequence[float]) -> Interval | None:
    """The mean of differences paired by seed, with its t interval and the p value of the paired t test (Student 1908).

    None for fewer than two. Differences that are all the same, as counts may be, have no variance, and the t test would
    be certain of them. They get the sign test, which needs no variance: p = 2 / 2^n, or 1 if they are 0. The sign test
    reaches 5 % from six seeds on; then the interval is that one value, otherwise None. Raises ValueError for NaN.
    """
    import numpy as np
    from scipy.stats import t

    values, n = finite(differences), len(differences)
    if n < 2:
        return None
    mean = sum(values) / n
    if not _varies(values):
        p = 2 / 2**n if mean else 1.0
        return Interval(mean, mean, mean, n, p, "all the same: sign test") if 2 / 2**n <= LEVEL else None
    error = float(np.std(values, ddof=1)) / n**0.5
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * error
    return Interval(mean, mean - half, mean + half, n, 2 * float(t.sf(abs(mean) / error, n - 1)), "paired t")


def _varies(differences: Sequence[float]) -> bool:
    """Whether the differences vary by more than the rounding of a subtraction."""
    return max(differences) - min(differences) > 1e-9 * max(map(abs, differences))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted as one family, in the same order: at most 5 % of families have a false positive at 5 %.

    The tests may depend on each other in any way (Holm 1979, "A simple sequentially rejective multiple test
    procedure"). None, for a test without data, does not count in the family and stays None. Raises ValueError for
    values outside [0, 1].
    """
    made = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for smaller, (p, k) in enumerate(made):
        if not 0 <= p <= 1:
            raise ValueError(f"{p} is no p value")
        adjusted[k] = least = max(least, min(1.0, (len(made) - smaller) * p))
    return adjusted


def detectable(deviation: float, n: int) -> float:
    """The true mean that a t test over `n` values of this true standard deviation detects in 80 % of cases.

    The test has to distinguish the mean from 0, on the right side. This uses the noncentral t distribution (Cohen 1988,
    "Statistical power analysis for the behavioral sciences", chapter 2). The normal approximation, 2.8 deviation /
    sqrt(n), is too optimistic: the result is 5.8 times as large for two seeds, twice for three, 1.3 times for five.
    Raises ValueError for fewer than two values, or a deviation that is not positive.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2 or not 0 < deviation < inf:
        raise ValueError(f"a detectable mean takes at least two seeds that vary, not {n} of deviation {deviation}")
    needed = t.ppf(1 - LEVEL / 2, n - 1)
    # The other tail is on the wrong side and below 1e-5; scipy's value of it is NaN for large shifts.
    shift = brentq(lambda shift: nct.sf(needed, n - 1, shift) - POWER, 0, 2 * needed + 5)
    return float(shift * deviation / n**0.5)


def smallest_detectable(differences: Sequence[float]) -> float | None:
    """The smallest true difference that 80 % of studies with as many and as noisy seeds would detect.

    It describes the power of a study, not whether there is an effect: it uses the observed deviation, never the
    observed mean (Hoenig and Heisey 2001, "The abuse of power"). It is as uncertain as the deviation: over three seeds
    the true one is 0.5 to 6.3 times as large (95 %). None if no two values differ. Raises ValueError for NaN.
    """
    import numpy as np

    if len(finite(differences)) < 2 or not _varies(differences):
        return None
    return detectable(float(np.std(differences, ddof=1)), len(differences))


def verdict(interval: Interval | None, side: int, margin: float | None = None) -> Verdict:
    """Whether a claim holds: yes if the whole interval agrees with it, no if the whole interval contradicts it.

    A claim of a direction has side +1 or -1. If there is no effect, it holds in 2.5 % of studies and does not hold in
    another 2.5 %. A claim of almost no change has side 0 and a margin: the truth lies in (-margin, margin). Two
    one-sided tests of that at 5 % use the 90 % interval (Schuirmann 1987). With our 95 % interval the claim holds in at
    most 2.5 % of studies if the true change is the margin. Without an interval, or with a border inside it, the claim
    is undecided. Raises ValueError for another side, for a direction with a margin, and for side 0 without a positive
    margin.
    """
    if side not in (-1, 0, 1) or (side == 0) != (margin is not None) or not (margin is None or margin > 0):
        raise ValueError(f"side {side} with margin {margin}: a side of +1 or -1, or 0 with a positive margin")
    if interval is None:
        return "undecided"
    low, high = (-margin, margin) if margin is not None else (0.0, inf) if side > 0 else (-inf, 0.0)
    if low < interval.low and interval.high < high:
        return "holds"
    return "does not hold" if interval.high < low or interval.low > high else "undecided"


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation within groups, pooled over all groups; None if no group has two values."""
    import numpy as np

    several = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    return float(sum(np.var(v, ddof=1) * (len(v) - 1) for v in several) / freedom) ** 0.5 if freedom else None


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or if one side does not vary."""
    from scipy.stats import spearmanr

    a, b = ([pair[k] for pair in pairs] for k in (0, 1))
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 and len(pairs) > 2 else None
