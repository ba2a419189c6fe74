"""The finished tokenizer on the validation images of another data set."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 2
about = "metrics of the finished tokenizer on the val images of another data set"
METRICS = ("kid", "rfd", "psnr", "ssim", "kl", "active_units", "probe", "shuffled_error")


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", decoder(experiment))


def experiment_of(stage: str, experiment: Experiment) -> Experiment:
    """The experiment of an input: its data are the other ones."""
    return (experiment.transferred or experiment) if stage == "data" else experiment


def size(experiment: Experiment) -> Size:
    images = experiment.data.val_images
    encoded = images + experiment.evaluation.probe_images
    both = flops.of_decoder(experiment) + flops.measure(experiment.evaluation)
    return Size(images, 10_000, encoded * flops.of_encoder(experiment) + 2 * images * both)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation.effective_fields}


def run(work: Work) -> Outcome:
    from harness.evaluation.reconstructed import Reconstructed
    from harness.evaluation.records import records
    from harness.networks import weights

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)])
    seen = experiment_of("data", experiment)  # protocols name the data of their numbers
    measured = Reconstructed(tokenizer, seen, work.machine, folder, "val", experiment.training.steps)
    return Outcome(records(measured, list(METRICS)), {"data": work.inputs["data"].fact("content")})
