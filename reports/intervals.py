"""Intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence


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
