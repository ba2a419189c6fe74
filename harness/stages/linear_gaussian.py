"""The second linear foil: the linear-Gaussian optimum at the KL weight of the row."""

from __future__ import annotations

from typing import Any

from harness.evaluation import foils
from harness.evaluation.collapse import water_level
from harness.experiments.experiment import Experiment
from harness.planning.stage import Outcome, Work

revision = 1
about = "metrics of the linear-Gaussian optimum at the KL weight, and of its samples"
inputs = foils.inputs
size = foils.size


def config(experiment: Experiment) -> dict[str, Any]:
    return foils.config(experiment) | {"kl_weight": experiment.tokenizer.gaussian.kl_weight}


def run(work: Work) -> Outcome:
    return foils.measured(work, water_level(work.experiment))
