"""Kernel distance of generated images from the training images, with its deviation over subsets."""

from __future__ import annotations

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import compared, estimator
from harness.evaluation.records import Value

title = "gKD"
about = "kernel distance of generated from training images, on a network's features"
unit = ""
better = "lower"
digits = "kernel_digits"
splits = ("samples", "guided")
names = ("gKD", None)


def measure(m: Generated) -> Value | None:
    from harness.evaluation.fidelity import kernel

    if len(m) < 2:
        return None
    evaluation = m.experiment.evaluation
    mean, deviation = kernel(*m.features, evaluation.kid_subsets, evaluation.kid_subset_images)
    return Value(mean, len(m), deviation)


def protocol(m: Generated) -> str:
    count = len(m.reference.features)
    subsets = f"{estimator(m.experiment.evaluation, min(len(m), count))}; {compared(m)}"
    return subsets if count == m.reference_images else f"{subsets}; of the training images {count}, evenly spaced"
