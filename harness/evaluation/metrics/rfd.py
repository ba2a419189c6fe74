"""Fréchet distance of reconstructions from originals."""

from __future__ import annotations

from harness.evaluation.protocol_texts import BACKEND, features, reference
from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

title = "rFD"
about = "Fréchet distance of reconstructions from the same split's originals, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")
names = ("rFD", "rFID")


def measure(m: Measured) -> Value:
    from harness.evaluation.frechet import of_features

    return Value(of_features(*m.features), len(m))


def protocol(m: Measured) -> str:
    return f"{BACKEND}; {features(m.experiment)}, {reference(m)}"
