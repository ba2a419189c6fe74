"""Intervals by simulation, of what has no t distribution: a rank correlation, the place of an optimum.

Both invert a test: what stays is every truth under which the study, drawn anew, is not exceptional at 5 % (the
test-inversion bootstrap of Carpenter and Bithell 2000, "Bootstrap confidence intervals: when, which, what?").
Percentiles of draws around what was seen would be simpler, and do not cover at this size: 60 % for a rank correlation
of 0.95 over five rows, whose interval is a point where all five stand in order; 77 % for the best of six equal places
over three seeds, if that is the first of them. All draws are fixed: the same values give the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reports.statistics.intervals import LEVEL, Interval, finite, pooled_deviation, rank_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Place = TypeVar("Place", bound=Hashable)

DRAWS = 20_000
TRUTHS = 41  # rank correlations that are tried, 0 in the middle
STUDIES = 4_000  # of a simulated coverage: its standard error is 0.35 points at 95 %
ROUNDING = 1e-9  # between equal rank correlations
EQUAL, PEAKED, NOISY = "all places equal", "a peak", "all equal, the best twice as noisy"


def rank_correlation_interval(rows: Sequence[Sequence[tuple[float, float]]]) -> Interval | None:
    """Spearman's rank correlation of two metrics over rows, each the pairs of its seeds: of the rows' means.

    It asks about tokenizers at large, of which the rows are a sample, so every draw has other rows, as many as there
    are. Seeds are not drawn anew within rows: how far they move a row's mean is in the scatter of the means already.
    They pull the correlation towards 0: it is the one of means over so many seeds, not of tokenizers without noise.
    What all rows share, such as the seed's order of images, moves no rank.

    Draws have normal metrics of a given correlation; ranks do not see how either is scaled or bent. None for fewer than
    three rows, or where one metric does not vary. Raises ValueError for NaN, and for a row without values.
    """
    pairs = [(_mean([a for a, _ in row]), _mean([b for _, b in row])) for row in rows]
    found = rank_correlation(pairs)
    if found is None:
        return None
    n = len(rows)
    low, high = _ends(n, found)
    p = 2 * min(float(_tails(n, sign * found)[TRUTHS // 2]) for sign in (1, -1))
    covers = min(rank_correlation_coverage(n).values())
    return Interval(found, low, high, n, min(1.0, p), f"bootstrap 95 %, covers {_percent(covers)} in simulation")


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("a row or place without values")
    return sum(finite(values)) / len(values)


@cache
def _truths() -> Array:
    """The rank correlations that are tried: symmetric around 0, denser towards -1 and 1."""
    import numpy as np

    positive = np.append(np.tanh(np.linspace(0, 3, TRUTHS // 2 + 1)[1:-1]), 1.0)
    return np.concatenate([-positive[::-1], [0.0], positive])


@cache
def _drawn(n: int) -> Array:
    """Rank correlations over `n` rows, ordered: (truths, draws)."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, noise = np.sort(rng.normal(size=(DRAWS, n))), rng.normal(size=(DRAWS, n))
    drawn = []
    for truth in _truths():
        r = 2 * np.sin(np.pi * truth / 6)  # Pearson's, of normal metrics with that rank correlation
        drawn.append(np.sort(_spearman(x, r * x + np.sqrt(max(0.0, 1 - r * r)) * noise)))
    return np.stack(drawn)


def _spearman(x: Array, y: Array) -> Array:
    """Rank correlations along the last axis, of values without ties."""
    n = x.shape[-1]
    apart = x.argsort(-1).argsort(-1) - y.argsort(-1).argsort(-1)
    return 1 - 6 * (apart**2).sum(-1) / (n * (n * n - 1))


def _tails(n: int, found: float) -> Array:
    """How often a rank correlation over `n` rows is at least as large as the one found, for every truth."""
    import numpy as np

    drawn = _drawn(n)
    return np.array([1 - np.searchsorted(row, found - ROUNDING) / DRAWS for row in drawn])


def _ends(n: int, found: float) -> tuple[float, float]:
    """The least and the largest truth under which what was found is not exceptional."""
    import numpy as np

    # The larger the truth, the more draws are above. The upper end is the lower one of the metric turned round.
    low, mirrored = (
        float(np.interp(LEVEL / 2, np.maximum.accumulate(_tails(n, sign * found)), _truths())) for sign in (1, -1)
    )
    return low, -mirrored


@cache
def rank_correlation_coverage(n: int) -> Mapping[str, float]:
    """How often the interval over `n` rows covers the truth, by simulation; the least of these is what is printed.

    Of normal metrics, of others with outliers (Student's t of 3 degrees) and of two groups of rows, as collapsed and
    not. The truth is the rank correlation of means over seeds, whose number therefore does not matter.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    found = {}
    for law in ("normal", "outliers", "two groups"):
        for r in (0.0, 0.5, 0.9):
            truth = float(_spearman(*_metrics(law, r, (20 * STUDIES,), rng)))
            seen, studies = np.unique(_spearman(*_metrics(law, r, (STUDIES, n), rng)), return_inverse=True)
            ends = np.array([_ends(n, value) for value in seen])[studies]
            found[f"{law}, r = {r}"] = float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
    return found


def _metrics(law: str, r: float, shape: tuple[int, ...], rng: Any) -> Array:
    """Two metrics of Pearson correlation `r`: (2, *shape)."""
    import numpy as np

    first, other = rng.normal(size=(2, *shape))
    if law == "two groups":  # related only between groups
        group = rng.choice([-1.0, 1.0], size=shape) * np.sqrt(r / (1 - r))
        return np.stack([first + group, other + group])
    scale = np.sqrt(3 / rng.chisquare(3, size=shape)) if law == "outliers" else 1.0
    return scale * np.stack([first, r * first + np.sqrt(1 - r * r) * other])


@dataclass(frozen=True)
class Optimum(Generic[Place]):
    """Where the best of ordered places may be.

    `best` has the best mean; `among` are all that may be the best in truth, at 95 %; `low` and `high` are the first and
    the last of them. `share` is how often each is the best in draws around the means seen; `coverage` is how often
    `low` to `high` holds the best, by what is true.
    """

    best: Place
    low: Place
    high: Place
    among: tuple[Place, ...]
    share: Mapping[Place, float]
    coverage: Mapping[str, float]
    method: str


def optimum(groups: Mapping[Place, Sequence[float]], better: str) -> Optimum[Place] | None:
    """Where of ordered places, each with its values over seeds, the truth is best; `better` is "higher" or "lower".

    A place stays unless its mean is further behind the best than in all but 5 % of studies of equal places, in pooled
    standard deviations of seeds, which are drawn along (the subset selection of Gupta 1965, "On some multiple decision
    rules", by which Hsu 1984 compares with the best). So each of equal places stays in 95 % of studies: where no place
    is best the interval is the whole range, in nine studies of ten. The places that `share` gives 95 % would be fewer:
    for it the means seen are the likely truth, with all that luck has added to the best of them.

    Seeds count as independent between places; where they share something the interval is wider than need be. None
    where no variance can be estimated: one seed, or no place whose seeds differ. Raises ValueError for NaN, for no
    places, for a place without values, and for another `better`.
    """
    import numpy as np

    if better not in ("higher", "lower"):
        raise ValueError(f"better {better!r}: higher or lower")
    if not groups:
        raise ValueError("no places")
    places, counts = list(groups), tuple(len(values) for values in groups.values())
    seen = (1 if better == "higher" else -1) * np.array([_mean(values) for values in groups.values()])
    deviation = pooled_deviation(list(groups.values()))
    if deviation is None or all(len(set(values)) == 1 for values in groups.values()):
        return None
    means = seen / deviation
    noise, allowed = _noise(counts)
    kept = [place for place, stays in zip(places, means.max() - means <= allowed, strict=True) if stays]
    wins = np.bincount((means + noise).argmax(1), minlength=len(places)) / DRAWS
    coverage = optimum_coverage(counts)
    told = f"{_percent(coverage[EQUAL])} in simulation ({EQUAL}; {NOISY}: {_percent(coverage[NOISY])})"
    return Optimum(
        best=places[int(means.argmax())],
        low=kept[0],
        high=kept[-1],
        among=tuple(kept),
        share=dict(zip(places, wins.tolist(), strict=True)),
        coverage=coverage,
        method=f"bootstrap 95 %, variance of seeds pooled over places, covers {told}",
    )


@cache
def _noise(counts: tuple[int, ...]) -> tuple[Array, Array]:
    """Means of equal places in standard deviations as estimated, (draws, places), and how far behind each may be."""
    import numpy as np

    rng = np.random.default_rng(0)
    freedom = sum(counts) - len(counts)
    estimated = np.sqrt(rng.chisquare(freedom, size=(DRAWS, 1)) / freedom)
    noise = rng.normal(size=(DRAWS, len(counts))) / np.sqrt(counts) / estimated
    return noise, np.quantile(noise.max(1, keepdims=True) - noise, 1 - LEVEL, axis=0)


@cache
def optimum_coverage(counts: tuple[int, ...]) -> Mapping[str, float]:
    """How often low to high holds the true best of places with so many seeds, by simulation.

    Where all places are equal, or nearly, the first counts as the best: no truth is harder while all are as noisy.
    Where they fall by one standard deviation on either side of a peak, then by three more, it is easy. A best place
    twice as noisy as the others is what a pooled variance does not allow for.
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
    found = {}
    for name, (best, means, deviations) in truths.items():
        seen = means + deviations * rng.normal(size=(STUDIES, len(k))) / np.sqrt(n)
        squares = 2 * rng.standard_gamma((n - 1) / 2, size=(STUDIES, len(k)))  # chi squared, which is 0 of one seed
        estimated = np.sqrt((deviations**2 * squares).sum(1, keepdims=True) / (n - 1).sum())
        kept = (seen.max(1, keepdims=True) - seen) / estimated <= _noise(counts)[1]
        covers = kept[:, : best + 1].any(1) & kept[:, best:].any(1)
        found[name] = float(covers.mean())
    return found


def _percent(share: float) -> str:
    """Rounded down: a coverage must not look better than it is."""
    return f"{int(100 * share)} %"
