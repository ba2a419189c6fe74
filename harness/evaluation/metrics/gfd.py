"""Fréchet distance of generated images from the training images."""

from __future__ import annotations

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import BACKEND, compared
from harness.evaluation.records import Value

title = "gFD"
about = "Fréchet distance of generated images from the training images, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("samples", "guided", "prior", "real", "mean image", "noise")
names = ("gFD", "gFID")


def measure(m: Generated) -> Value | None:
    from harness.evaluation.frechet import Moments, distance

    if len(m) < 2:
        return None
    return Value(distance(Moments.of(m.features[0]).gaussian, m.reference_gaussian), len(m))


def protocol(m: Generated) -> str:
    return f"{BACKEND}; {compared(m)}"
