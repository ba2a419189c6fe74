"""Principal components of the pixels, from which the linear foils are made."""

from __future__ import annotations

from typing import Any

from harness.evaluation import components
from harness.experiments.experiment import Experiment
from harness.planning.stage import Outcome, Size, Work

revision = 1
about = "principal components of the training images' pixels, and their variances"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    side, images = experiment.data.image_size, experiment.data.train_images
    pixels, used = 3 * side**2, components.images_used(images, side)
    smaller = min(pixels, used)
    work = 2.0 * pixels * used * smaller + 9.0 * smaller**3  # the covariance, and its eigenvectors
    return Size(images, 4 * pixels * min(components.MOST_COMPONENTS, smaller), work)


def config(experiment: Experiment) -> dict[str, Any]:
    return {}


def run(work: Work) -> Outcome:
    from harness.data.splits import open_split

    images = open_split(work.inputs["data"].checked_folder(), "train").images
    components.fitted(images, work.machine).save(work.run)
    return Outcome()
