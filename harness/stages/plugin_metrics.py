"""Metrics of plug-ins on the finished tokenizer, on every validation split."""

from __future__ import annotations

from typing import Any

from harness.experiments import plugin_metrics
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 1
about = "the metrics that a user adds, measured on tokenizers"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "components", decoder(experiment))


def size(experiment: Experiment) -> Size:
    images = 2 * experiment.data.val_images
    both = flops.of_decoder(experiment) + flops.measure(experiment.evaluation)
    return Size(images, 10_000, images * (flops.of_encoder(experiment) + both))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation.effective_fields, "metrics": plugin_metrics.metrics(generated=False)}


def run(work: Work) -> Outcome:
    from harness.data import splits as data
    from harness.evaluation import components
    from harness.evaluation.reconstructed import Reconstructed
    from harness.evaluation.records import records_of_plugins
    from harness.networks import weights

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)])
    pixels, steps = components.load(work.inputs["components"]), experiment.training.steps
    records = []
    for split in data.validation_splits(folder):
        work.check_stop()
        records += records_of_plugins(
            Reconstructed(tokenizer, experiment, work.machine, folder, split, steps, pixels), generated=False
        )
    return Outcome(records)
