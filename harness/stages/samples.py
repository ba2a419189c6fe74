"""Latents drawn from the generator without guidance."""

from __future__ import annotations

from harness.experiments.experiment import UNGUIDED, Experiment
from harness.latents.sample_plan import samples_config, samples_size
from harness.planning.stage import Outcome, Size, Work

revision = 4
about = "latents drawn from the generator without guidance"
parallel = True
resumes = True
config = samples_config


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator")


def size(experiment: Experiment) -> Size:
    return samples_size(experiment, UNGUIDED)


def run(work: Work) -> Outcome:
    from harness.latents.sampling import draw

    return draw(work, UNGUIDED)
