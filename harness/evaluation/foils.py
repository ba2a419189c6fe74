"""Measures a linear foil: what a closed form reaches with the same numbers, against which tokenizers are held."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from harness.evaluation import components
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work

if TYPE_CHECKING:
    from harness.evaluation.generated import Generated
    from models.autoencoders.linear import LinearTokenizer

METRICS = ["kid", "rfd", "rfd_infinity", "psnr", "ssim", "kl", "probe", "gfd", "gfd_infinity"]
PRIOR = "latents N(0, I), decoded: the Gaussian with the mean and covariance of the training images' components"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    """The stages that a foil reads; without a generator in the row it has none either."""
    return ("data", "components", *(("reference",) if experiment.generator.on else ()))


def size(experiment: Experiment) -> Size:
    """The cost of a foil."""
    images = 2 * experiment.data.val_images + experiment.evaluation.probe_images
    images += experiment.sampling.images if experiment.generator.on else 0
    numbers = experiment.latents.numbers
    product = 2.0 * 3 * experiment.data.image_size**2 * numbers
    return Size(images, 20_000, images * (2 * product + flops.measure(experiment.evaluation)))


def config(experiment: Experiment) -> dict[str, Any]:
    """The settings that every foil depends on."""
    generation = {"images": experiment.sampling.images} if experiment.generator.on else {}
    numbers = experiment.latents.numbers
    return {"evaluation": experiment.evaluation.effective_fields, "numbers": numbers, **generation}


def tokenizer(work: Work, numbers: int, level: float = 0.0) -> LinearTokenizer:
    """The linear tokenizer with at most so many numbers at a water level (0: principal components)."""
    from models.autoencoders.linear import LinearTokenizer

    stored = components.load(work.inputs["components"])
    kept = min(numbers, len(stored.vectors))
    return LinearTokenizer(stored.mean, stored.vectors[:kept], stored.eigenvalues[:kept], level).eval()


def measured(work: Work, level: float = 0.0) -> Outcome:
    """All metrics of the foil with as many numbers as the latents have, on the validation splits and as generator."""
    from harness.data.splits import validation_splits
    from harness.evaluation import records as metrics
    from harness.evaluation.reconstructed import Reconstructed

    experiment = dataclasses.replace(work.experiment, seed=0)  # a closed form has no seed
    linear = tokenizer(work, experiment.latents.numbers, level)
    folder, records = work.inputs["data"].checked_folder(), []
    for split in validation_splits(folder):
        work.check_stop()
        records += metrics.records(Reconstructed(linear, experiment, work.machine, folder, split, 0), METRICS)
    if "reference" in work.inputs:
        records += metrics.records(_generated(work, linear, experiment), METRICS)
    return Outcome(records, {"numbers": len(linear.components)})


def _generated(work: Work, linear: LinearTokenizer, experiment: Experiment) -> Generated:
    from harness.evaluation.decoded_latents import DecodedLatents
    from harness.latents.sampling import Noise

    noise = Noise(experiment.seed, range(experiment.sampling.images), (len(linear.components), 1))()
    return DecodedLatents(work, linear, logits=False).generated(noise, "prior", PRIOR, 0)
