"""Fréchet distance of reconstructions from originals (not FID: the features are not Inception's)."""

from __future__ import annotations

from harness.experiment import Experiment
from harness.metrics import Measured, Value

title = "rFD"
about = "Fréchet distance of reconstructions from the same split's originals, on EfficientNet-Lite2 features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")
BACKEND = "Fréchet distance in float64 by singular values"


def measure(m: Measured) -> Value:
    from harness.frechet import of_features

    return Value(of_features(*m.features), len(m.reconstructions))


def protocol(m: Measured) -> str:
    return f"{BACKEND}; {features(m.experiment)}, {reference(m)}"


def reference(m: Measured) -> str:
    """Which images are compared."""
    return f"reference: the {len(m.originals)} originals of the same split; {m.decoded}"


def features(experiment: Experiment) -> str:
    """Which network looks at the images, and where."""
    from harness.measures import checksum, lite2

    data = experiment.data
    return (
        f"{lite2.title} ({lite2.features} features, weights {checksum(lite2.weights_file())}), input "
        f"{experiment.evaluation.metrics_px} px bicubic, 8-bit, data `{data.name}` at "
        f"{data.image_size} px, crop {data.crop}"
    )
