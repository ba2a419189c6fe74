"""Kernel distance of reconstructions from originals, with its deviation over subsets."""

from __future__ import annotations

from harness.metrics import Measured, Value
from harness.metrics.rfd import features

title = "KID (Lite2)"
about = "kernel distance (the KID estimator) of reconstructions from originals, on EfficientNet-Lite2 features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    return Value(m.distances["kernel"], len(m.reconstructions), m.distances["kernel_deviation"])


def protocol(m: Measured) -> str:
    evaluation = m.experiment.evaluation
    size = min(evaluation.kid_subset_images, len(m.originals))
    return (
        f"unbiased, cubic kernel, {evaluation.kid_subsets} subsets of {size} images, mean and "
        f"standard deviation over subsets; {features(m)}"
    )
