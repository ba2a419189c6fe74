"""Samples, the latents that a generator draws: what they depend on and what they cost."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment, Guide
from harness.networks import flops
from harness.planning.stage import Size

SAMPLES = "samples.npy"  # the file of a run, float32 (n, L, Z)
DRAWING = {"mar": 2}  # generators whose drawing changed alone, by its revision


def samples_size(experiment: Experiment, guide: Guide) -> Size:
    """The cost of drawing the samples with a guide."""
    images, dimensions = experiment.sampling.images, experiment.latents.numbers
    work = images * flops.drawing(experiment, guide)
    return Size(images * experiment.sampling.steps, 4 * images * dimensions, work, images)


def samples_config(experiment: Experiment) -> dict[str, Any]:
    """The settings that samples depend on besides the generator and its guide."""
    sampling = experiment.sampling
    return {
        "images": sampling.images,
        **drawing_law(experiment),
        "seed": experiment.seed_of_samples,
    }


def drawing_law(experiment: Experiment) -> dict[str, Any]:
    """What decides a sample besides the generator's weights, guide and seed."""
    return experiment.sampling.law | {"drawing": DRAWING.get(experiment.generator.name)}
