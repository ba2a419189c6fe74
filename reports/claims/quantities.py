"""Quantities in claims: metrics, and quantities derived from the curves of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import pandas as pd

from harness.evaluation import collapse
from harness.evaluation.records import digits_of
from harness.system import plugins
from reports.results import Result

OF_GENERATION = ("gfd", "gfd_infinity", "gkid", "classifier_score", "precision", "recall")


@dataclass(frozen=True)
class Derived:
    """A quantity that is not a metric: its title, its decimals, and its value `of` one row and seed."""

    title: str
    digits: int | str  # or the name of a metric with the same decimals
    of: Callable[[Result], float | None]


LEAST_RISE = {"val/kl": collapse.RISE_NATS, "val/active_units": collapse.RISE_UNITS}


def _curve(result: Result, name: str) -> pd.Series | None:
    """A curve of a finished training, or None. Active units start from 0, as the latents of an untrained tokenizer hold
    no information even though their KL is positive.
    """
    curve = result.curve(name)
    if curve.empty or not result.done("tokenizer"):  # an unfinished curve has no end
        return None
    return curve if name == "val/kl" else pd.concat([pd.Series([0.0], [0]), curve])


def _kept(name: str) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        curve = _curve(result, name)
        return None if curve is None else collapse.kept(curve.tolist(), LEAST_RISE[name])

    return of


def _lost_at(name: str) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        curve = _curve(result, name)
        if curve is None:
            return None
        lost = collapse.lost_at([int(step) for step in curve.index], curve.tolist(), LEAST_RISE[name])
        return float(curve.index[-1] if lost is None else lost)

    return of


def _unguided(result: Result) -> float | None:
    return _value(result, "gfd", "samples", "generation")


LESS = f"less than {collapse.PARTLY_SHARE:.0%}"
DERIVED = {
    "kl_kept": Derived("share of the rise of KL that is left at the end", 2, _kept("val/kl")),
    "units_kept": Derived("share of once active units that are left at the end", 2, _kept("val/active_units")),
    "kl_lost_at": Derived(f"step from which {LESS} of the rise of KL is left", 0, _lost_at("val/kl")),
    "units_lost_at": Derived(f"step from which {LESS} of once active units are left", 0, _lost_at("val/active_units")),
    "gfd_unguided": Derived("gFD without guidance", "gfd", _unguided),
}


def quantity(result: Result, name: str) -> float | None:
    """The quantity `name` of one row and seed; None if it was not measured or is not finite."""
    if name in DERIVED:
        value = DERIVED[name].of(result)
    elif name in OF_GENERATION:
        value = _value(result, name, "guided" if result.experiment.guidance.on else "samples", "generation")
    else:
        value = _value(result, name, "val", "evaluation")
    return value if value is not None and isfinite(value) else None


def _value(result: Result, metric: str, split: str, stage: str) -> float | None:
    record = result.value(metric, split, stage)
    return None if record is None else record.value


def title(name: str) -> str:
    """The title of a quantity."""
    return (
        DERIVED[name].title
        if name in DERIVED
        else str(plugins.load("harness.evaluation.metrics", name, "metric").title)
    )


def digits(name: str, results: Sequence[Result]) -> int:
    """The decimals of a quantity in these results."""
    digits = DERIVED[name].digits if name in DERIVED else name
    return digits if isinstance(digits, int) else digits_of(digits, results[0].experiment.evaluation.network)
