"""How often the judge of claims errs and how often it sees: every kind of claim, simulated.

A study has seven rows, as table 5 has. A seed shifts all rows alike, by 1.4 times the noise of a row: about two thirds
of the variance are common, as measured for gFD. All noise is in units of the deviation of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from reports.statistics.model import Effect, Values

STUDIES = 1000  # the standard error of 5 % is 0.7 percentage points
ROWS, FAMILY = 7, 6  # of table 5: rows and primary claims
COMMON = 1.4
SEEDS = (3, 5, 8, 10)
PLANNED = (3, 5, 8)
LARGE = 3.0  # effect, in deviations of a difference of two rows
NOISE_OF_PAIR = 2.0  # of the law with unequal variances
POINTS = 5  # of a sweep
LAWS = ("normal", "heavy tails (t of 3)", "two groups", "the pair twice as noisy")


def lines() -> Iterator[dict[str, Any]]:
    """One line per kind of claim, law and number of seeds."""
    for law in LAWS:
        for kind, tested in TESTED.items():
            for n in SEEDS:
                yield _line(kind, law, n, tested)
    yield from _of_places()


def _line(kind: str, law: str, n: int, tested: Callable[[np.ndarray, float], Effect | None]) -> dict[str, Any]:
    from reports.statistics.intervals import LEVEL
    from reports.statistics.looks import level_of_look

    side, margin, null, large = BORDERS[kind]

    without, true = ([tested(y, truth) for y in _studies(law, n)] for truth in (null, large))

    def share(effects: list[Effect | None], level: float) -> float:
        return _mean(_holds(effect, side, margin, level) for effect in effects)

    found = {
        "claim": kind,
        "noise": law,
        "seeds": n,
        "false holds": share(without, LEVEL),
        "covers": _mean(_covers(effect, null) for effect in without),
        f"sees {LARGE:g} deviations": share(true, LEVEL),
        f"in a family of {FAMILY}": share(true, LEVEL / FAMILY),
    }
    if n == PLANNED[-1]:
        level = level_of_look(PLANNED)
        found["false holds by looks at 3, 5, 8"] = _mean(
            any(_holds(tested(y[:, :k], null), side, margin, level) for k in PLANNED) for y in _studies(law, n)
        )
        found["unplanned, at 5 %"] = _mean(
            any(_holds(tested(y[:, :k], null), side, margin, LEVEL) for k in range(3, n + 1)) for y in _studies(law, n)
        )
    return found


def _mean(outcomes: Iterator[bool]) -> float:
    values = list(outcomes)
    return sum(values) / len(values)


def _holds(effect: Effect | None, side: int, margin: float | None, level: float) -> bool:
    if effect is None:
        return False
    verdict, p = effect.tested(side, margin)
    return verdict == "holds" and p <= level


def _covers(effect: Effect | None, truth: float) -> bool:
    return effect is not None and abs(effect.estimate - truth) <= effect.half_width()


def _studies(law: str, n: int) -> Iterator[np.ndarray]:
    """Studies without effects: values (rows, seeds)."""
    import numpy as np

    rng = np.random.default_rng(n)
    for _ in range(STUDIES):
        if law == "two groups":
            noise = rng.choice([-1.0, 1.0], size=(ROWS, n)) + 0.1 * rng.normal(size=(ROWS, n))
        elif law == "heavy tails (t of 3)":
            noise = rng.standard_t(3, size=(ROWS, n)) / 3**0.5
        else:
            noise = rng.normal(size=(ROWS, n))
        if law == "the pair twice as noisy":
            noise[:2] *= NOISE_OF_PAIR
        yield noise + COMMON * rng.normal(size=n)


def _values(y: np.ndarray) -> Values:
    return {str(row): dict(enumerate(values)) for row, values in enumerate(y.tolist())}


def _difference(y: np.ndarray, truth: float) -> Effect | None:
    from reports.statistics import model

    shifted = y.copy()
    shifted[1] += truth
    return model.difference(_values(shifted), "1", "0", GRAIN)


def _level(y: np.ndarray, truth: float) -> Effect | None:
    from reports.statistics import model

    return model.level(_values(y + truth), "0", GRAIN)


def _wider(y: np.ndarray, truth: float) -> Effect | None:
    """Counts of active values, of a border that moves along a grid."""
    import numpy as np

    from reports.statistics import model

    shifted = y.copy()
    shifted[1] += truth
    counts = np.clip(np.round(10 + shifted), 0, 20)
    return model.difference(_values(counts), "1", "0", grain=1.0)


GRAIN = 0.01
MARGIN = 3.0
DEVIATION = 2**0.5  # of a difference of two rows
TESTED: dict[str, Callable[[np.ndarray, float], Effect | None]] = {
    "a difference, or faster": _difference,
    "almost equal": _difference,
    "a level": _level,
    "a wider range": _wider,
}
# Side, margin, the truth at which it must not hold, and a truth that is LARGE deviations within the claim.
BORDERS: dict[str, tuple[int, float | None, float, float]] = {
    "a difference, or faster": (+1, None, 0.0, LARGE * DEVIATION),
    "almost equal": (0, MARGIN * DEVIATION, MARGIN * DEVIATION, 0.0),
    "a level": (+1, None, 0.0, LARGE * (1 + COMMON**2) ** 0.5),
    "a wider range": (+1, None, 0.0, LARGE * DEVIATION),
}


def _of_places() -> Iterator[dict[str, Any]]:
    """The best point of a sweep, beside an equal one, and a rank correlation over rows that have none."""
    import numpy as np

    from reports.statistics.bootstrap import optimum, rank_correlation_interval
    from reports.statistics.intervals import LEVEL

    for law in LAWS:
        for n in SEEDS:
            alone = {far: [_best(y[:POINTS], far, optimum) for y in _studies(law, n)] for far in (0.0, LARGE)}
            yield {
                "claim": "the best of five",
                "noise": law,
                "seeds": n,
                "false holds": float(np.mean(alone[0.0])),
                f"sees {LARGE:g} deviations": float(np.mean(alone[LARGE])),
            }
    rng = np.random.default_rng(0)
    found = [
        rank_correlation_interval([[(a, b)] for a, b in rng.normal(size=(ROWS, 2)).tolist()]) for _ in range(STUDIES)
    ]
    false = [i is not None and i.estimate > 0 and (i.p or 0.0) <= LEVEL for i in found]
    yield {"claim": "a rank correlation", "noise": "normal", "seeds": "any", "false holds": float(np.mean(false))}


def _best(y: np.ndarray, far: float, optimum: Callable[..., Any]) -> bool:
    """Whether the first of five points is told to be the best; the second is as good, or `far` deviations worse."""
    from reports.statistics import model

    means = [0.0, far * DEVIATION] + [2 * LARGE * DEVIATION] * (len(y) - 2)
    groups = {k: dict(enumerate((of + mean).tolist())) for k, (of, mean) in enumerate(zip(y, means, strict=True))}
    found = optimum(groups, "lower", GRAIN)
    by_name = {str(k): of for k, of in groups.items()}
    return found is not None and found.candidates == (0,) and model.ahead(by_name, "0", -1, GRAIN)
