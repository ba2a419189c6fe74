"""What a study could have seen: power, detectable effects and the number of seeds that would do."""

from __future__ import annotations

from math import inf

from reports.statistics.intervals import LEVEL

POWER = 0.8
MOST_SEEDS = 200  # beyond which no number of seeds is told


def power(effect: float, deviation: float, n: int, freedom: float, level: float = LEVEL) -> float:
    """The share of studies in which a two-sided t test at `level` finds a true `effect`, on its side.

    `deviation` is the true standard deviation of one of `n` seeds, `freedom` the degrees of freedom of its estimate.
    """
    from statsmodels.stats.power import ttest_power

    _require(deviation, n)
    return float(ttest_power(abs(effect) / deviation, n, level / 2, df=freedom, alternative="larger"))


def detectable(deviation: float, n: int, freedom: float, level: float = LEVEL) -> float:
    """The true effect that a t test at `level` finds in 80 % of studies (Cohen 1988, chapter 2).

    The normal approximation, 2.8 deviation / sqrt(n), is too optimistic: at 5 % and n - 1 degrees of freedom the result
    is 5.8 times as large for two seeds, twice for three, 1.3 times for five.
    """
    from scipy.optimize import brentq

    _require(deviation, n)
    most = 10.0
    while power(most * deviation, deviation, n, freedom, level) < POWER:
        most *= 10
    return float(brentq(lambda effect: power(effect * deviation, deviation, n, freedom, level) - POWER, 0, most)) * (
        deviation
    )


def deviation_range(deviation: float, freedom: float) -> tuple[float, float]:
    """The 95 % interval of a standard deviation that was estimated with `freedom` degrees of freedom."""
    from scipy.stats import chi2

    low, high = (float(chi2.ppf(share, freedom)) for share in (1 - LEVEL / 2, LEVEL / 2))
    return deviation * (freedom / low) ** 0.5, deviation * (freedom / high) ** 0.5


def seeds_needed(effect: float, deviation: float, n: int, freedom: float, level: float = LEVEL) -> int | None:
    """The least number of seeds that finds `effect` in 80 % of studies; None above `MOST_SEEDS`.

    With m seeds the estimate of the deviation has (m - 1) / (n - 1) times its degrees of freedom with n.
    """
    _require(deviation, n)
    return next(
        (
            m
            for m in range(2, MOST_SEEDS + 1)
            if power(effect, deviation, m, freedom * (m - 1) / (n - 1), level) >= POWER
        ),
        None,
    )


def _require(deviation: float, n: int) -> None:
    if n < 2 or not 0 < deviation < inf:
        raise ValueError(f"power takes at least two seeds that vary, not {n} of deviation {deviation}")
