"""Fréchet distance of generated images from the training images."""

from __future__ import annotations

from harness.metrics import Generated, Value
from harness.metrics.rfd import BACKEND, features

title = "gFD"
about = "Fréchet distance of generated images from the training images, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("samples", "guided", "prior", "real", "mean image", "noise")
names = ("gFD", "gFID")


def measure(m: Generated) -> Value | None:
    from harness.frechet import Moments, distance

    if len(m) < 2:
        return None
    return Value(distance(Moments.of(m.features[0]).gaussian, m.reference_gaussian), len(m))


def protocol(m: Generated) -> str:
    return f"{BACKEND}; {compared(m)}"


def compared(m: Generated) -> str:
    """By which network what is compared with what."""
    return f"{features(m.experiment)}, reference: the {m.reference_images} training images; {m.how}"
