"""Texts of the metrics' protocols: network, resizing, reference. They are hashed into protocol ids."""

from __future__ import annotations

from types import ModuleType

from harness.evaluation.generated import Generated
from harness.evaluation.reconstructed import Reconstructed
from harness.experiments.experiment import Data, Evaluation, Experiment
from harness.system import plugins


def compared(m: Generated) -> str:
    """How generated images are compared: network, reference, and how the images were made."""
    return f"{features(m.experiment)}, reference: the {m.reference_images} training images; {m.how}"


def estimator(evaluation: Evaluation, count: int) -> str:
    """How the kernel distance of `count` images is estimated."""
    return (
        f"torch-fidelity, unbiased, cubic kernel, {evaluation.kid_subsets} subsets of "
        f"{min(evaluation.kid_subset_images, count)} images, mean and standard deviation over subsets"
    )


BACKEND = "Fréchet distance in float64 by singular values"


def frechet_of_reconstructions(m: Reconstructed) -> str:
    """How the Fréchet distance of reconstructions is computed."""
    return f"{BACKEND}; {features(m.experiment)}, {reference(m)}"


def frechet_of_generated(m: Generated) -> str:
    """How the Fréchet distance of generated images is computed."""
    return f"{BACKEND}; {compared(m)}"


def extrapolation() -> str:
    """How a distance is extrapolated to infinitely many images."""
    from harness.evaluation.frechet import HALVINGS, REPLICATES

    return (
        f"2 FD(N) - FD(N / 2), {HALVINGS} random halvings (Chong & Forsyth 2020), 95 % interval by the standard error "
        f"of {REPLICATES} bootstrap replicates"
    )


def neighbourhoods(m: Generated) -> str:
    """How precision and recall are computed."""
    from harness.evaluation.fidelity import NEIGHBOURS

    return (
        f"{NEIGHBOURS} nearest neighbours (Kynkäänniemi et al. 2019); {features(m.experiment)}, reference: "
        f"{m.neighbours} training images, evenly spaced over the training set; {m.how}"
    )


def reference(m: Reconstructed) -> str:
    """The reference of reconstructions, and what these are decoded from."""
    return f"reference: the {len(m)} originals of the same split; {m.decoded}"


def features(experiment: Experiment) -> str:
    """The network, its input and the data."""
    data, network = experiment.data, measure_of(experiment)
    return (
        f"{network.title} ({network.features} features, {weights(experiment)}), {resizing(experiment)}, data "
        f"{data_set(data)} at {data.image_size} px, crop {data.crop}"
    )


def data_set(data: Data) -> str:
    """The name of a data set, with the argument if both decide the content."""
    return f"`{data.full_name if decided_by_name(data) else data.name}`"


def decided_by_name(data: Data) -> bool:
    """Whether name and argument decide the content of a data set."""
    return bool(getattr(plugins.load("harness.data.sets", data.name, "data set"), "fixed", False))


def measure_of(experiment: Experiment) -> ModuleType:
    """The measure of an experiment, a module of `harness.networks.measures`."""
    return plugins.load("harness.networks.measures", experiment.evaluation.network, "measure")


def weights(experiment: Experiment) -> str:
    """The checksum of the weights of the experiment's network."""
    network = measure_of(experiment)
    return str(network.WEIGHTS.described(network.weights_file()))


def other_weights(experiment: Experiment) -> str:
    """Six digits of the checksum of the weights of the experiment's network; "" if they are the published ones."""
    network = measure_of(experiment)
    return str(network.WEIGHTS.other(network.weights_file()))


def resizing(experiment: Experiment) -> str:
    """How images are resized for the experiment's network."""
    network, px = measure_of(experiment), experiment.evaluation.side_px
    return f"input {px} px bicubic, 8-bit" if px else f"input {network.default_px} px {network.resizing}, 8-bit"
