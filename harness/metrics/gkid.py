"""Kernel distance of generated images from the training images, with its deviation over subsets."""

from __future__ import annotations

from harness.metrics import Generated, Value, gfd
from harness.metrics.kid import estimator

title = "gKID (Lite2)"
about = "kernel distance (the KID estimator) of generated from training images, on EfficientNet-Lite2 features"
unit = ""
better = "lower"
digits = 1
splits = ("samples", "guided")


def measure(m: Generated) -> Value | None:
    from harness.fidelity import kernel

    if len(m) < 2:
        return None
    evaluation = m.experiment.evaluation
    mean, deviation = kernel(*m.features, evaluation.kid_subsets, evaluation.kid_subset_images)
    return Value(mean, len(m), deviation)


def protocol(m: Generated) -> str:
    count = min(len(m), len(m.reference))
    return f"{estimator(m.experiment.evaluation, count)}; {gfd.compared(m)}"
