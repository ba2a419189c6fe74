"""Metrics of the latents at up to five moments of the training."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.networks.weights import snapshot_file, snapshot_steps
from harness.planning.stage import Outcome, Size, Work

revision = 4
about = "latents and rFD over the training, before any fine-tuning"
METRICS = [
    *("kl", "mutual_information", "gaussian_rate", "active_units", "effective_rank", "isotropy"),
    *("probe", "probe_mean", "knn", "shuffled_error", "psnr", "rfd"),
]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")


def size(experiment: Experiment) -> Size:
    moments, images = len(snapshot_steps(experiment.training.steps)), experiment.data.val_images
    work = (images + experiment.evaluation.probe_images) * flops.of_encoder(experiment)
    work += 2 * images * (flops.of_decoder(experiment) + flops.measure(experiment.evaluation))
    return Size(moments * images, 10_000, moments * work)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation.effective_fields}


def run(work: Work) -> Outcome:
    from harness.evaluation.reconstructed import Reconstructed
    from harness.evaluation.records import records
    from harness.networks import weights

    experiment = work.experiment
    steps = experiment.training.steps
    folder = work.inputs["data"].checked_folder()
    results = []
    with work.progress(len(snapshot_steps(steps)), "snapshot") as bar:
        for step in snapshot_steps(steps):
            work.check_stop()
            tokenizer = weights.load_tokenizer(experiment, work.inputs["tokenizer"], snapshot_file(step, steps))
            results += records(Reconstructed(tokenizer, experiment, work.machine, folder, "val", step), METRICS)
            bar.update()
    return Outcome(results)
