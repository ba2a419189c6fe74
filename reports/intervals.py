"""Intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % t interval around the mean of `values`, one a seed; None for fewer than two."""
    import numpy as np
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else None


def shown(values: Sequence[float], digits: int, sign: bool = False) -> str:
    """The mean of `values` and, where there are several, half of their 95 % t interval."""
    mean, half = sum(values) / len(values), half_width(values)
    text = f"{mean:{'+' if sign else ''}.{digits}f}"
    return text if half is None else f"{text} ± {half:.{digits}f}"


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation within groups, pooled over them; None where no group has two values."""
    import numpy as np

    several = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    return float(sum(np.var(v, ddof=1) * (len(v) - 1) for v in several) / freedom) ** 0.5 if freedom else None


LEVEL = 0.05
TEST = "Dunnett's test, 5 %, variance of seeds pooled over places"


def told_apart(one: Sequence[float], others: Mapping[int, Sequence[float]]) -> set[int]:
    """Those of `others` whose mean Dunnett's test tells from that of `one`: two-sided, 5 % for all together.

    The variance within groups is pooled: three seeds alone say next to nothing of it.
    """
    from scipy.stats import dunnett

    if not others or not pooled_deviation([one, *others.values()]):
        return {name for name, values in others.items() if list(values) != list(one)}
    p_values = dunnett(*others.values(), control=one, random_state=0).pvalue  # drawn: it integrates at random points
    return {name for name, p in zip(others, p_values, strict=True) if p <= LEVEL}


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one side does not vary."""
    from scipy.stats import spearmanr

    a, b = ([pair[k] for pair in pairs] for k in (0, 1))
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 and len(pairs) > 2 else None
