"""The first linear foil: principal components, as many numbers as the latents have."""

from __future__ import annotations

from harness.evaluation import foils
from harness.planning.stage import Outcome, Work

revision = 1
about = "metrics of principal components with as many numbers as the latents, and of their Gaussian samples"
inputs = foils.inputs
size = foils.size
config = foils.config


def run(work: Work) -> Outcome:
    return foils.measured(work)
