"""Protocols of metrics in words: network, resizing, reference. They are hashed into protocol ids."""

from __future__ import annotations

from types import ModuleType

from harness.evaluation.generated import Generated
from harness.evaluation.reconstructed import Measured
from harness.experiments.experiment import Evaluation, Experiment
from harness.system import plugins


def compared(m: Generated) -> str:
    """By which network what is compared with what."""
    return f"{features(m.experiment)}, reference: the {m.reference_images} training images; {m.how}"


def estimator(evaluation: Evaluation, count: int) -> str:
    """How the kernel distance of `count` images is estimated."""
    return (
        f"torch-fidelity, unbiased, cubic kernel, {evaluation.kid_subsets} subsets of "
        f"{min(evaluation.kid_subset_images, count)} images, mean and standard deviation over subsets"
    )


BACKEND = "Fréchet distance in float64 by singular values"


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
    """The measure of an experiment, a module of `harness.networks.measures`."""
    return plugins.load("harness.networks.measures", experiment.evaluation.measure or "lite2", "measure")


def weights(experiment: Experiment) -> str:
    """The weights of its network, by their checksum."""
    network = measure_of(experiment)
    return f"weights {network.checksum(network.weights_file())}"


def looked_at(experiment: Experiment) -> str:
    """How images are resized for it."""
    network, px = measure_of(experiment), experiment.evaluation.side_px
    return f"input {px} px bicubic, 8-bit" if px else f"input {network.default_px} px {network.resizing}, 8-bit"
