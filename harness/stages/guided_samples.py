"""Latents drawn from the generator with guidance, at the scale and interval of stage `guidance`."""

from __future__ import annotations

from harness.experiments.experiment import Experiment, Guide
from harness.latents.sample_plan import samples_config, samples_size
from harness.planning.stage import Outcome, Size, Work

revision = 4
about = "latents drawn from the generator with guidance"
parallel = True
resumes = True
config = samples_config  # without scale and interval: the key of stage guidance stands for them


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator", "guidance")


def size(experiment: Experiment) -> Size:
    """The cost of the most expensive pair of the grid."""
    return max((samples_size(experiment, guide) for guide in experiment.guidance.grid), key=lambda size: size.flops)


def run(work: Work) -> Outcome:
    from harness.latents.sampling import draw

    return draw(work, Guide(**work.inputs["guidance"].fact("guide")))
