"""Latents drawn from the generator without guidance."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import UNGUIDED, Experiment, Guide
from harness.latents.sampling import draw
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work

revision = 2
about = "latents drawn from the generator without guidance"

parallel = True
resumes = True


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator")


def size(experiment: Experiment) -> Size:
    return size_of(experiment, UNGUIDED)


def size_of(experiment: Experiment, guide: Guide) -> Size:
    """What drawing with a guide takes."""
    images, dimensions = experiment.sampling.images, experiment.tokenizer.tokens * experiment.tokenizer.channels
    work = images * flops.drawing(experiment, guide)
    return Size(images * experiment.sampling.steps, 4 * images * dimensions, work, images)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "images": sampling.images,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "time_shift": sampling.time_shift,
        "labels": sampling.labels,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    return draw(work, UNGUIDED)
