"""Intervals by simulation for quantities without a t distribution: a rank correlation and the location of an optimum.

Both invert a test: the interval holds every truth under which the observed study is not exceptional at 5 % among
simulated ones (the test-inversion bootstrap of Carpenter and Bithell 2000, "Bootstrap confidence intervals: when,
which, what?"). Percentiles of draws around the observed values would be simpler, but cover too rarely at this size:
60 % for a rank correlation of 0.95 over five rows, where the interval is a single point if all five rows are in order;
77 % for the best of six equal points over three seeds, if the first point is the best. All draws are fixed: the same
values give the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reports.statistics.intervals import LEVEL, Interval, finite, rank_correlation
from reports.statistics.model import noise as noise_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Point = TypeVar("Point", bound=Hashable)

DRAWS = 20_000
TRUTHS = 41  # rank correlations in the grid of truths, 0 in the middle
STUDIES = 4_000  # to simulate a coverage: its standard error is 0.35 percentage points at 95 %
ROUNDING = 1e-9  # possible difference between equal rank correlations
EQUAL, PEAKED, NOISY = "all points equal", "a peak", "all equal, the best twice as noisy"


def rank_correlation_interval(rows: Sequence[Sequence[tuple[float, float]]]) -> Interval | None:
    """Spearman's rank correlation of two metrics over the means of rows; a row holds one pair of values per seed.

    The estimate is for tokenizers in general, and the rows are a sample of them. So every draw has new rows, as many as
    there are here. Seeds are not drawn again within rows: the scatter of the means already includes their effect. Noise
    of seeds pulls the correlation towards 0, so it is a correlation of means over this number of seeds, not of
    tokenizers without noise. Effects that all rows share, such as a seed's order of images, change no rank.

    Draws have normal metrics of a given correlation; ranks do not depend on monotone changes of scale. None for fewer
    than three rows, or if one metric does not vary. Raises ValueError for NaN and for a row without values.
    """
    pairs = [(_mean([a for a, _ in row]), _mean([b for _, b in row])) for row in rows]
    estimate = rank_correlation(pairs)
    if estimate is None:
        return None
    n = len(rows)
    low, high = _ends(n, estimate)
    p = 2 * min(float(_tails(n, sign * estimate)[TRUTHS // 2]) for sign in (1, -1))
    coverage = min(rank_correlation_coverage(n).values())
    return Interval(estimate, low, high, n, min(1.0, p), f"bootstrap 95 %, covers {_percent(coverage)} in simulation")


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("a row or point without values")
    return sum(finite(values)) / len(values)


@cache
def _truths() -> Array:
    """The grid of true rank correlations: symmetric around 0, denser towards -1 and 1."""
    import numpy as np

    positive = np.append(np.tanh(np.linspace(0, 3, TRUTHS // 2 + 1)[1:-1]), 1.0)
    return np.concatenate([-positive[::-1], [0.0], positive])


@cache
def _drawn(n: int) -> Array:
    """Simulated rank correlations over `n` rows, (truths, draws), sorted along the draws."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, noise = np.sort(rng.normal(size=(DRAWS, n))), rng.normal(size=(DRAWS, n))
    correlations = []
    for truth in _truths():
        r = 2 * np.sin(np.pi * truth / 6)  # Pearson's correlation of normal metrics with this rank correlation
        correlations.append(np.sort(_spearman(x, r * x + np.sqrt(max(0.0, 1 - r * r)) * noise)))
    return np.stack(correlations)


def _spearman(x: Array, y: Array) -> Array:
    """Rank correlations along the last axis, for values without ties."""
    n = x.shape[-1]
    differences = x.argsort(-1).argsort(-1) - y.argsort(-1).argsort(-1)
    return 1 - 6 * (differences**2).sum(-1) / (n * (n * n - 1))


def _tails(n: int, observed: float) -> Array:
    """How often, under every truth, a rank correlation over `n` rows is at least as large as the one observed."""
    import numpy as np

    drawn = _drawn(n)
    return np.array([1 - np.searchsorted(row, observed - ROUNDING) / DRAWS for row in drawn])


def _ends(n: int, observed: float) -> tuple[float, float]:
    """The smallest and the largest truth under which the observed correlation is not exceptional."""
    import numpy as np

    # A larger truth has more draws above. The upper end is the negated lower end for the negated metric.
    low, mirrored = (
        float(np.interp(LEVEL / 2, np.maximum.accumulate(_tails(n, sign * observed)), _truths())) for sign in (1, -1)
    )
    return low, -mirrored


@cache
def rank_correlation_coverage(n: int) -> Mapping[str, float]:
    """How often the interval over `n` rows covers the truth, by simulation; pages print the smallest of these.

    The laws are normal metrics, metrics with outliers (Student's t of 3 degrees) and two groups of rows, such as
    collapsed and not. The truth is the rank correlation of means over seeds, so the number of seeds does not matter.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    coverages = {}
    for law in ("normal", "outliers", "two groups"):
        for r in (0.0, 0.5, 0.9):
            truth = float(_spearman(*_metrics(law, r, (20 * STUDIES,), rng)))
            values, studies = np.unique(_spearman(*_metrics(law, r, (STUDIES, n), rng)), return_inverse=True)
            ends = np.array([_ends(n, value) for value in values])[studies]
            coverages[f"{law}, r = {r}"] = float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
    return coverages


def _metrics(law: str, r: float, shape: tuple[int, ...], rng: Any) -> Array:
    """Two metrics with Pearson correlation `r`: (2, *shape)."""
    import numpy as np

    first, other = rng.normal(size=(2, *shape))
    if law == "two groups":  # correlated only between groups
        group = rng.choice([-1.0, 1.0], size=shape) * np.sqrt(r / (1 - r))
        return np.stack([first + group, other + group])
    scale = np.sqrt(3 / rng.chisquare(3, size=shape)) if law == "outliers" else 1.0
    return scale * np.stack([first, r * first + np.sqrt(1 - r * r) * other])


@dataclass(frozen=True)
class Optimum(Generic[Point]):
    """The candidates for the best of ordered points.

    `best` has the best mean; `candidates` are all points that may truly be the best, at 95 %; `low` and `high` are the
    first and the last candidate. `share` is how often each point is the best in draws around the observed means;
    `coverage` is how often `low` to `high` holds the best, for several truths.
    """

    best: Point
    low: Point
    high: Point
    candidates: tuple[Point, ...]
    share: Mapping[Point, float]
    coverage: Mapping[str, float]
    method: str


def optimum(groups: Mapping[Point, Mapping[int, float]], better: str, grain: float = 0.0) -> Optimum[Point] | None:
    """The candidates for the best of ordered points, by their values by seed; `better` is "higher" or "lower".

    A point is a candidate unless its mean is further behind the best mean than in 95 % of studies of equal points. The
    unit is the standard deviation that points and seeds leave unexplained (`model.noise`), whose error is simulated too
    (the subset selection of Gupta 1965, "On some multiple decision rules", by which Hsu 1984 compares with the best).
    So each of several equal points is a candidate in 95 % of studies; if all points are equal, the interval is the
    whole range in nine studies of ten. The points with a `share` of 95 % together would be fewer: `share` takes the
    observed means, which favour the lucky points, for the truth.

    What a seed does to all points alike cancels if all have the same seeds. Otherwise seeds are treated as independent
    between points. Values are known no better than to `grain`. None if no noise can be estimated: one seed, or without
    a grain no seeds that differ. Raises ValueError for NaN, no points, a point without values, and another `better`.
    """
    import numpy as np

    if better not in ("higher", "lower"):
        raise ValueError(f"better {better!r}: higher or lower")
    if not groups:
        raise ValueError("no points")
    points, counts = list(groups), tuple(len(values) for values in groups.values())
    values = [list(of.values()) for of in groups.values()]
    observed = (1 if better == "higher" else -1) * np.array([_mean(of_point) for of_point in values])
    shared = len({frozenset(of) for of in groups.values()}) == 1 and len(points) > 1
    deviation, freedom = noise_of({str(k): of for k, of in enumerate(groups.values())}, seeds=shared)
    deviation = max(deviation, grain / 12**0.5)
    if freedom < 1 or deviation <= ROUNDING * float(np.abs(observed).max()):
        return None
    means = observed / deviation
    noise, allowed = _noise(counts, freedom)
    candidates = [point for point, stays in zip(points, means.max() - means <= allowed, strict=True) if stays]
    wins = np.bincount((means + noise).argmax(1), minlength=len(points)) / DRAWS
    coverage = optimum_coverage(counts, shared)
    coverage_text = f"{_percent(coverage[EQUAL])} in simulation ({EQUAL}; {NOISY}: {_percent(coverage[NOISY])})"
    return Optimum(
        best=points[int(means.argmax())],
        low=candidates[0],
        high=candidates[-1],
        candidates=tuple(candidates),
        share=dict(zip(points, wins.tolist(), strict=True)),
        coverage=coverage,
        method=f"bootstrap 95 %, noise of all points together, covers {coverage_text}",
    )


@cache
def _noise(counts: tuple[int, ...], freedom: int) -> tuple[Array, Array]:
    """Means of equal points in estimated standard deviations, (draws, points), and the allowed gap to the best."""
    import numpy as np

    rng = np.random.default_rng(0)
    estimated = np.sqrt(rng.chisquare(freedom, size=(DRAWS, 1)) / freedom)
    noise = rng.normal(size=(DRAWS, len(counts))) / np.sqrt(counts) / estimated
    return noise, np.quantile(noise.max(1, keepdims=True) - noise, 1 - LEVEL, axis=0)


@cache
def optimum_coverage(counts: tuple[int, ...], shared: bool) -> Mapping[str, float]:
    """How often `low` to `high` holds the truly best point, by simulation.

    `counts` are the numbers of seeds of the points; `shared`: all have the same seeds, and these a common effect.

    If all points are equal, the first counts as the best: no truth is harder as long as all are equally noisy. A peak,
    from which points fall by one standard deviation on either side, then by three more, is easy. A best point twice
    as noisy as the others breaks the assumption of a pooled variance.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    k, n = np.arange(len(counts)), np.array(counts)
    middle, even = len(counts) // 2, np.ones(len(counts))
    truths = {
        EQUAL: (0, 0 * even, even),
        PEAKED: (middle, -((k - middle) ** 2.0), even),
        NOISY: (0, 0 * even, 1.0 + (k == 0)),
    }
    coverages = {}
    for name, (best, means, deviations) in truths.items():
        drawn = deviations[:, None] * rng.normal(size=(STUDIES, len(k), n.max()))
        there = np.arange(n.max()) < n[:, None]
        errors = np.where(there, drawn, 0.0).sum(2) / n
        left = np.where(there, drawn - errors[..., None], 0.0)
        if shared:
            left -= left.mean(1, keepdims=True)
        freedom = (len(k) - 1) * (n.max() - 1) if shared else (n - 1).sum()
        estimated = np.sqrt((left**2).sum((1, 2)) / freedom)[:, None]
        observed = means + errors
        kept = (observed.max(1, keepdims=True) - observed) / estimated <= _noise(counts, int(freedom))[1]
        covers = kept[:, : best + 1].any(1) & kept[:, best:].any(1)
        coverages[name] = float(covers.mean())
    return coverages


def _percent(share: float) -> str:
    """A share in percent, rounded down: a coverage must not look better than it is."""
    return f"{int(100 * share)} %"
