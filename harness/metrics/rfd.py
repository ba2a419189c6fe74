"""Fréchet distance of reconstructions from originals (not FID: the features are not Inception's)."""

from __future__ import annotations

from harness.metrics import Measured, Value

title = "rFD"
about = "Fréchet distance of reconstructions from the same split's originals, on EfficientNet-Lite2 features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    return Value(m.distances["frechet"], len(m.reconstructions))


def protocol(m: Measured) -> str:
    return features(m)


def features(m: Measured) -> str:
    """Which features of which images against which reference."""
    from harness import networks
    from harness.fidelity import LAYER

    return (
        f"torch-fidelity, EfficientNet-Lite2 {LAYER} averaged over places (120 features, weights "
        f"{networks.weights_checksum(networks.MEASURE)}), input {m.experiment.evaluation.metrics_px} px bicubic, "
        f"8-bit, reference: the {len(m.originals)} originals of the same split; {m.decoded}"
    )
