"""The third linear foil: principal components, as many as the row has active units."""

from __future__ import annotations

from typing import Any

from harness.evaluation import foils
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work

revision = 1
about = "reconstruction by as many principal components as the row has active units"
METRICS = ["rfd", "psnr"]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "components", "evaluation")


def size(experiment: Experiment) -> Size:
    images, numbers = experiment.data.val_images, experiment.latents.numbers
    product = 2.0 * 3 * experiment.data.image_size**2 * numbers
    return Size(images, 10_000, 2 * images * (product + flops.measure(experiment.evaluation)))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation.effective_fields}


def run(work: Work) -> Outcome:
    """Records the fact `numbers`, how many components that are."""
    from harness.evaluation.reconstructed import Reconstructed
    from harness.evaluation.records import records

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    share = next(r.value for r in work.inputs["evaluation"].records() if r.metric == "active_units") / 100
    numbers = round(share * experiment.latents.numbers)
    linear = foils.tokenizer(work, numbers)
    measured = Reconstructed(linear, experiment, work.machine, folder, "val", experiment.training.steps)
    return Outcome(records(measured, METRICS), {"numbers": len(linear.components)})
