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


def not_told_apart(groups: Mapping[int, Sequence[float]], best: int, level: float = 0.05) -> list[int]:
    """The group `best` and those that paired t tests do not tell from it, values paired by place, Holm's correction."""
    import numpy as np
    from scipy.stats import t

    of_others: dict[int, float] = {}
    for name, values in groups.items():
        if name != best:
            differences = np.subtract(values, groups[best])
            error = differences.std(ddof=1) / len(differences) ** 0.5
            mean = abs(differences.mean())
            of_others[name] = float(2 * t.sf(mean / error, len(differences) - 1)) if error > 0 else float(mean == 0)
    told: set[int] = set()
    for k, name in enumerate(sorted(of_others, key=lambda name: of_others[name])):
        if of_others[name] > level / (len(of_others) - k):
            break
        told.add(name)
    return [name for name in groups if name not in told]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one side does not vary."""
    from scipy.stats import spearmanr

    a, b = ([pair[k] for pair in pairs] for k in (0, 1))
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 and len(pairs) > 2 else None
