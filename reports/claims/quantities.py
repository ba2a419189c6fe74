"""Quantities in claims: metrics, and quantities derived from the curves of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import pandas as pd

from harness.evaluation import collapse
from harness.evaluation.records import bounds_of, digits_of
from harness.system import plugins
from reports.results import Result, by_row_and_seed

STEPS = "gfd_steps"  # the steps of a generator to the same gFD: a quantity of pairs of rows
OF_GENERATION = ("gfd", "gfd_infinity", "gkid", "classifier_score", "precision", "recall")


@dataclass(frozen=True)
class Derived:
    """A quantity that is not a metric: its title, its decimals, its value `of` one row and seed, and the most of it.

    The least is 0.
    """

    title: str
    digits: int | str  # or the name of a metric with the same decimals
    of: Callable[[Result], float | None]
    most: float = inf


def _information(result: Result) -> pd.DataFrame | None:
    """KL and shuffled-latent error over a finished training; None if it is not finished or has no KL."""
    curves = result.curves.reindex(columns=["val/kl", "val/shuffled_error"]).dropna()
    return None if curves.empty or not result.done("tokenizer") else curves  # an unfinished curve has no end


def _kept(result: Result) -> float | None:
    curves = _information(result)
    return None if curves is None else collapse.kept(*(curves[name].tolist() for name in curves))[-1]


def _lost_at(result: Result) -> float | None:
    curves = _information(result)
    if curves is None:
        return None
    lost = collapse.lost_at([int(step) for step in curves.index], *(curves[name].tolist() for name in curves))
    return float(curves.index[-1] if lost is None else lost)


def _share(result: Result) -> float | None:
    kl, optimum = (result.number(name, "val", result.latents_stage) for name in ("kl", "linear_gaussian_kl"))
    return kl / optimum if kl is not None and optimum and isfinite(optimum) else None


def _unguided(result: Result) -> float | None:
    return result.number("gfd", "samples", "generation")


LESS = f"less than {collapse.PARTLY_SHARE:.0%}"
DERIVED = {
    "information_kept": Derived("share of the maximal information left at the end", 2, _kept, most=1.0),
    "information_lost_at": Derived(f"step after which {LESS} of the maximal information is left", 0, _lost_at),
    "information_share": Derived("KL as a share of the linear-Gaussian KL", 2, _share),
    "gfd_unguided": Derived("gFD without guidance", "gfd", _unguided),
}


OF_ONE_ROW = ("information_kept", "information_lost_at", "information_share")  # shares of what a row itself has


def stage(name: str) -> str:
    """The stage that measures a quantity."""
    generated = name in (*OF_GENERATION, "gfd_unguided", STEPS)
    return "generation" if generated else "evaluation"


def quantity(result: Result, name: str) -> float | None:
    """The quantity `name` of one row and seed; None if it was not measured or is not finite."""
    if name in DERIVED:
        value = DERIVED[name].of(result)
    elif name in OF_GENERATION:
        value = result.number(name, "guided" if result.experiment.guidance.on else "samples", "generation")
    else:
        value = result.number(name, "val", "evaluation")
    return value if value is not None and isfinite(value) else None


def values(results: Sequence[Result], name: str) -> dict[str, dict[int, float]]:
    """The quantity `name` by row and seed, where it was measured and is finite."""
    return by_row_and_seed(results, lambda result: quantity(result, name))


def grain(name: str, results: Sequence[Result]) -> float:
    """The smallest step in which a quantity is told: its last decimal, or the steps between two validations."""
    if name == "information_lost_at":
        spacings = (curves.index for r in results if (curves := _information(r)) is not None and len(curves) > 1)
        return max((float(index[-1] - index[-2]) for index in spacings), default=1.0)
    return 10.0 ** -digits(name, results)


def title(name: str) -> str:
    """The title of a quantity."""
    return (
        DERIVED[name].title
        if name in DERIVED
        else str(plugins.load("harness.evaluation.metrics", name, "metric").title)
    )


def unit(name: str) -> str:
    """The unit of a quantity; empty for a number, a share or one that its title names."""
    return "" if name in DERIVED else str(plugins.load("harness.evaluation.metrics", name, "metric").unit)


def bounds(name: str) -> tuple[float, float]:
    """The least and the largest value that a quantity can have."""
    return (0.0, DERIVED[name].most) if name in DERIVED else bounds_of(name)


def farthest(name: str, results: Sequence[Result]) -> float:
    """The most by which two values of a quantity can differ; infinite where nothing bounds it."""
    if name == "information_lost_at":
        return max((float(curves.index[-1]) for r in results if (curves := _information(r)) is not None), default=inf)
    low, high = bounds(name)
    return high - low


def digits(name: str, results: Sequence[Result]) -> int:
    """The decimals of a quantity in these results."""
    digits = DERIVED[name].digits if name in DERIVED else name
    return digits if isinstance(digits, int) else digits_of(digits, results[0].experiment.evaluation.network)
