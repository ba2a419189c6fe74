"""The level of every look at a study that grows, so that all looks together err in 5 %."""

from __future__ import annotations

from functools import cache

from reports.statistics.intervals import LEVEL

STUDIES = 100_000  # to simulate: the standard error of a level of 2 % is 0.05 percentage points


@cache
def level_of_look(planned: tuple[int, ...]) -> float:
    """The level of every look: all looks have the same, as in Pocock 1977, and together they err in `LEVEL`.

    His levels are for normal means of known variance, and are too large for t tests over a few seeds. So this one is
    simulated, for the t test of a pair of rows alone: the level that the least p value of all looks undercuts in 5 % of
    studies without effect. With the noise of other rows the looks err less often.
    """
    import numpy as np
    from scipy.stats import t

    if len(planned) == 1:
        return LEVEL
    n = np.array(planned)
    drawn = np.random.default_rng(0).normal(size=(STUDIES, planned[-1]))
    sums, squares = (np.cumsum(values, axis=1)[:, n - 1] for values in (drawn, drawn**2))
    errors = np.sqrt((squares - sums**2 / n) / (n - 1) / n)
    p = 2 * t.sf(np.abs(sums / n) / errors, n - 1)
    return float(np.quantile(p.min(1), LEVEL))
