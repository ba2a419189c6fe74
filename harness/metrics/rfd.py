"""Fréchet distance of reconstructions from originals."""

from __future__ import annotations

from types import ModuleType

from harness import plugins
from harness.experiment import Experiment
from harness.metrics import Measured, Value

title = "rFD"
about = "Fréchet distance of reconstructions from the same split's originals, on a network's features"
unit = ""
better = "lower"
digits = 1
splits = ("val", "val_unseen")
names = ("rFD", "rFID")
BACKEND = "Fréchet distance in float64 by singular values"


def measure(m: Measured) -> Value:
    from harness.frechet import of_features

    return Value(of_features(*m.features), len(m))


def protocol(m: Measured) -> str:
    return f"{BACKEND}; {features(m.experiment)}, {reference(m)}"


def reference(m: Measured) -> str:
    """Which images are compared."""
    return f"reference: the {len(m)} originals of the same split; {m.decoded}"


def features(experiment: Experiment) -> str:
    """Which network looks at which images, and where."""
    data, network = experiment.data, measure_of(experiment)
    return (
        f"{network.title} ({network.features} features, {weights(experiment)}), {looked_at(experiment)}, data "
        f"`{data.name}` at {data.image_size} px, crop {data.crop}"
    )


def measure_of(experiment: Experiment) -> ModuleType:
    """The measure of an experiment, a module of `harness.measures`."""
    return plugins.load("harness.measures", experiment.evaluation.measure or "lite2", "measure")


def weights(experiment: Experiment) -> str:
    """The weights of its network, by their checksum."""
    network = measure_of(experiment)
    return f"weights {network.checksum(network.weights_file())}"


def looked_at(experiment: Experiment) -> str:
    """How images are resized for it."""
    network, px = measure_of(experiment), experiment.evaluation.side_px
    return f"input {px} px bicubic, 8-bit" if px else f"input {network.default_px} px {network.resizing}, 8-bit"
