"""Quantities that claims are about: metrics, and what follows from the curves of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from harness import collapse, plugins
from reports.results import Result

OF_GENERATION = ("gfd", "gfd_infinity", "gkid", "classifier_score", "precision", "recall")


@dataclass(frozen=True)
class Derived:
    """A quantity that is no metric: how it is called, its decimals, and its value for one row and seed."""

    title: str
    digits: int
    of: Callable[[Result], float | None]


def _kept(result: Result) -> float | None:
    if not result.done("tokenizer"):  # where it has come to is not where it ends
        return None
    kl, active = result.curve("val/kl"), result.curve("val/active_units")
    return None if kl.empty or active.empty else collapse.kept(kl.tolist(), active.tolist())


def _lost_at(result: Result) -> float | None:
    kl = result.curve("val/kl")
    if kl.empty or not result.done("tokenizer"):
        return None
    lost = collapse.lost_at([int(step) for step in kl.index], kl.tolist())
    return float(kl.index[-1] if lost is None else lost)


def _unguided(result: Result) -> float | None:
    return _value(result, "gfd", "samples", "generation")


DERIVED = {
    "kept": Derived("share kept of what the latents held", 2, _kept),
    "lost_at": Derived(f"step from which less than {collapse.PARTLY_SHARE:.0%} of it is left", 0, _lost_at),
    "gfd_unguided": Derived("gFD without guidance", 1, _unguided),
}


def quantity(result: Result, name: str) -> float | None:
    """The quantity `name` of one row and seed; None where it was not measured or is no finite number."""
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
    """How a quantity is called."""
    return DERIVED[name].title if name in DERIVED else str(plugins.load("harness.metrics", name, "metric").title)


def digits(name: str) -> int:
    """Its decimals."""
    return DERIVED[name].digits if name in DERIVED else int(plugins.load("harness.metrics", name, "metric").digits)
