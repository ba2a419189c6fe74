"""What the latents hold, by the encoder alone."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work

revision = 1
about = "probe, KL and active units of the latents; nothing is decoded"
METRICS = ["probe", "kl", "kl_per_dimension", "linear_gaussian_kl", "active_units"]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")


def size(experiment: Experiment) -> Size:
    return Size(experiment.data.val_images + experiment.evaluation.probe_images, 10_000)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"probe_images": experiment.evaluation.probe_images}


def run(work: Work) -> Outcome:
    from harness import weights
    from harness.metrics import Measured, records

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs["tokenizer"])
    measured = Measured(tokenizer, experiment, work.machine, folder, "val", experiment.training.steps)
    return Outcome(records(measured, METRICS))
