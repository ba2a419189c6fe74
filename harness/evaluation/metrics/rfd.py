"""Fréchet distance of reconstructions from originals."""

from __future__ import annotations

import math

from harness.evaluation.protocol_texts import frechet_of_reconstructions
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "rFD"
about = "Fréchet distance of reconstructions from the same split's originals, on a network's features"
unit = ""
better = "lower"
digits = "frechet_digits"
bounds = (0.0, math.inf)
splits = ("val", "val_unseen")
names = ("rFD", "rFID")


def measure(m: Reconstructed) -> Value:
    from harness.evaluation.frechet import of_features

    return Value(of_features(*m.features), len(m))


def protocol(m: Reconstructed) -> str:
    return frechet_of_reconstructions(m)
