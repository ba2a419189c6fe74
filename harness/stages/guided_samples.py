"""Latents drawn from the generator with guidance, at the scale that the guidance stage found."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Work, samples

revision = 1
about = "latents drawn from the generator with guidance"
parallel = True
resumes = True
size = samples.size


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator", "guidance")


def config(experiment: Experiment) -> dict[str, Any]:
    guidance = experiment.guidance
    return {**samples.config(experiment), "low": guidance.low, "high": guidance.high}


def run(work: Work) -> Outcome:
    return samples.draw(work, work.inputs["guidance"].result()["facts"]["scale"])
