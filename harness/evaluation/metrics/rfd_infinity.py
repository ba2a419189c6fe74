"""rFD extrapolated to infinitely many images, with a bootstrap interval."""

from __future__ import annotations

from harness.evaluation.protocol_texts import extrapolation, frechet_of_reconstructions
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "rFD∞"
about = "rFD extrapolated to infinitely many images, on a network's features"
unit = ""
better = "lower"
digits = "frechet_digits"
splits = ("val", "val_unseen")
names = ("rFD∞", "rFID∞")


def measure(m: Reconstructed) -> Value:
    from harness.evaluation.frechet import infinite

    distance = infinite(*m.features)
    return Value(distance.value, len(m), interval=distance.interval)


def protocol(m: Reconstructed) -> str:
    return f"{extrapolation()}; {frechet_of_reconstructions(m)}"
