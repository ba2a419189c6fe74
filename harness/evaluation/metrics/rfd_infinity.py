"""rFD extrapolated to infinitely many images, with a bootstrap interval."""

from __future__ import annotations

from harness.evaluation.metrics import rfd
from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

title = "rFD∞"
about = "rFD extrapolated to infinitely many images, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")
names = ("rFD∞", "rFID∞")


def measure(m: Measured) -> Value:
    from harness.evaluation.frechet import infinite

    found = infinite(*m.features)
    return Value(found.value, len(m), interval=found.interval)


def protocol(m: Measured) -> str:
    return f"{extrapolation()}; {rfd.protocol(m)}"


def extrapolation() -> str:
    """How a distance is extrapolated."""
    from harness.evaluation.frechet import HALVINGS, REPLICATES

    return (
        f"2 FD(N) - FD(N / 2), {HALVINGS} random halvings (Chong & Forsyth 2020), 95 % interval by the standard error "
        f"of {REPLICATES} bootstrap replicates"
    )
