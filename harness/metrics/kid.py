"""Kernel distance of reconstructions from originals, with its deviation over subsets."""

from __future__ import annotations

from harness.experiment import Evaluation
from harness.metrics import Measured, Value
from harness.metrics.rfd import features, reference

title = "KID (Lite2)"
about = "kernel distance (the KID estimator) of reconstructions from originals, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")
names = ("KID", None)


def measure(m: Measured) -> Value:
    from harness.fidelity import kernel

    evaluation = m.experiment.evaluation
    mean, deviation = kernel(*m.features, evaluation.kid_subsets, evaluation.kid_subset_images)
    return Value(mean, len(m), deviation)


def protocol(m: Measured) -> str:
    subsets = estimator(m.experiment.evaluation, len(m))
    return f"{subsets}; {features(m.experiment)}, {reference(m)}"


def estimator(evaluation: Evaluation, count: int) -> str:
    """How the kernel distance of `count` images is estimated."""
    return (
        f"torch-fidelity, unbiased, cubic kernel, {evaluation.kid_subsets} subsets of "
        f"{min(evaluation.kid_subset_images, count)} images, mean and standard deviation over subsets"
    )
