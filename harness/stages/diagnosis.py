"""Metrics of the latents, from the encoder alone."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work

revision = 4
about = "all metrics of the latents alone; nothing is decoded"
METRICS = [
    *("kl", "kl_per_token", "kl_per_dimension", "linear_gaussian_kl", "mutual_information", "gaussian_rate"),
    *("active_units", "effective_rank", "isotropy", "probe", "probe_mean", "knn"),
]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer", "components")


def size(experiment: Experiment) -> Size:
    images = experiment.data.val_images + experiment.evaluation.probe_images
    return Size(images, 10_000, images * flops.of_encoder(experiment))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"probe_images": experiment.evaluation.probe_images}


def run(work: Work) -> Outcome:
    from harness.evaluation import components
    from harness.evaluation.reconstructed import Reconstructed
    from harness.evaluation.records import records
    from harness.networks import weights

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs["tokenizer"])
    pixels = components.load(work.inputs["components"])
    measured = Reconstructed(tokenizer, experiment, work.machine, folder, "val", experiment.training.steps, pixels)
    return Outcome(records(measured, METRICS))
