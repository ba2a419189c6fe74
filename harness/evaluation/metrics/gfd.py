"""Fréchet distance of generated images from the training images."""

from __future__ import annotations

import math

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import frechet_of_generated
from harness.evaluation.records import Value

title = "gFD"
about = "Fréchet distance of generated images from the training images, on a network's features"
unit = ""
better = "lower"
digits = "frechet_digits"
bounds = (0.0, math.inf)
splits = ("samples", "guided", "prior", "reconstructions", "real", "fresh", "mean image", "noise")
names = ("gFD", "gFID")


def measure(m: Generated) -> Value | None:
    from harness.evaluation.frechet import FeatureMoments, distance

    if len(m) < 2:
        return None
    return Value(distance(FeatureMoments.of(m.features[0]).gaussian, m.reference_gaussian), len(m))


def protocol(m: Generated) -> str:
    return frechet_of_generated(m)
