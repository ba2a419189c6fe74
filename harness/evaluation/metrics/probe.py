"""Linear probe: how well a linear classifier predicts the class from the latents."""

from __future__ import annotations

from harness.evaluation.probes import CLASSIFIER, accuracy, features, fit, flattened
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "probe"
about = "accuracy of a linear classifier on the latents"
unit = "%"
better = "higher"
digits = 1
bounds = (0.0, 100.0)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    return accuracy(m, fit, flattened)


def protocol(m: Reconstructed) -> str:
    return f"{CLASSIFIER}, {features(m, 'flattened over L x Z')}"
