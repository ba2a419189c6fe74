"""Latents drawn from the generator with guidance, as the guidance stage found it best."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment, Guide
from harness.latents import sampling
from harness.planning.stage import Outcome, Size, Work
from harness.stages import samples

revision = 2
about = "latents drawn from the generator with guidance"
parallel = True
resumes = True


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator", "guidance")


def size(experiment: Experiment) -> Size:
    """Of a grid, whatever is found best, the pair that takes most."""
    return max((samples.size_of(experiment, guide) for guide in experiment.guidance.grid), key=lambda size: size.flops)


def config(experiment: Experiment) -> dict[str, Any]:
    return samples.config(experiment)  # scale and interval are of the guidance stage, whose key stands for them


def run(work: Work) -> Outcome:
    return sampling.draw(work, Guide(**work.inputs["guidance"].result()["facts"]["guide"]))
