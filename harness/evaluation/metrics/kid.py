"""Kernel distance of reconstructions from originals, with its deviation over subsets."""

from __future__ import annotations

from harness.evaluation.protocol_texts import estimator, features, reference
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "rKD"
about = "kernel distance of reconstructions from originals, on a network's features"
unit = ""
better = "lower"
digits = "kernel_digits"
splits = ("val", "val_unseen")
names = ("rKD", None)


def measure(m: Reconstructed) -> Value:
    from harness.evaluation.fidelity import kernel

    evaluation = m.experiment.evaluation
    mean, deviation = kernel(*m.features, evaluation.kid_subsets, evaluation.kid_subset_images)
    return Value(mean, len(m), deviation)


def protocol(m: Reconstructed) -> str:
    subsets = estimator(m.experiment.evaluation, len(m))
    return f"{subsets}; {features(m.experiment)}, {reference(m)}"
