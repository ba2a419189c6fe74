"""What generated images are compared with: features of the training images, and what they say of other sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.evaluation.reference import save
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work
from harness.system import plugins

if TYPE_CHECKING:
    from torch import Tensor


revision = 2
about = "features of the training images; gFD of real images, of the mean image and of noise"

KEPT = 50_000  # features at most, evenly spaced: the distance takes the moments of all, the other metrics so many do
parallel = True
METRICS = ["gfd", "classifier_score", "precision", "recall"]  # none that reads more of the evaluation
CHUNK = 640  # images in memory at once


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    images = experiment.data.train_images + 3 * experiment.data.val_images
    work = images * flops.measure(experiment.evaluation)
    width: int = plugins.load("harness.networks.measures", experiment.evaluation.network, "measure").features
    return Size(images, 4 * width * min(KEPT, experiment.data.train_images), work)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"metrics_px": experiment.evaluation.side_px, "measure": experiment.evaluation.measure}


def run(work: Work) -> Outcome:
    """Writes features.npy, float32 (n, D), and of more than `KEPT` images moments.npz."""
    import numpy as np
    import torch

    from harness.data.splits import open_split
    from harness.data.tensors import channels_first
    from harness.evaluation import fidelity
    from harness.evaluation.frechet import FeatureMoments
    from harness.evaluation.generated import Generated
    from harness.evaluation.records import records
    from harness.evaluation.reference import TrainingFeatures
    from harness.networks.frozen import Seen
    from harness.system.randomness import Draws

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    train, val = (open_split(folder, split).images for split in ("train", "val"))
    network, shape = fidelity.network(experiment.evaluation, work.machine), val.shape[1:]

    def look(images: np.ndarray) -> Seen:
        return fidelity.seen(channels_first(images), network)

    def look_at_train(rows: slice) -> tuple[np.ndarray, Tensor]:
        images = train[rows]
        return images.sum(0, dtype=np.float64), look(images).features

    def noise(rows: slice) -> np.ndarray:
        uniform = Draws(0, "reference", rows.start).uniform("noise", rows.stop - rows.start, *shape)
        return (256 * uniform).to(torch.uint8).numpy()

    total, parts, every = np.zeros(shape), [], split_up(len(train))
    places = np.arange(min(KEPT, len(train))) * len(train) // min(KEPT, len(train))
    of_all: FeatureMoments | None = None
    with work.progress(len(train), "image") as bar:
        for rows, (pixels, features) in zip(every, work.map(look_at_train, every), strict=True):
            total += pixels
            parts.append(features[places[(rows.start <= places) & (places < rows.stop)] - rows.start])
            if len(train) > KEPT:
                of_all = FeatureMoments.of(features) if of_all is None else of_all + FeatureMoments.of(features)
            bar.update(rows.stop - rows.start)
    reference = TrainingFeatures(torch.cat(parts), of_all)
    save(work.run, reference)

    mean = look((total / len(train)).round().astype(np.uint8)[None])
    every = split_up(len(val))
    compared = {
        "real": (fidelity.together(list(work.map(lambda rows: look(val[rows]), every))), "the images of val"),
        "mean image": (fidelity.together([mean] * len(val)), "the mean training image"),
        "noise": (
            fidelity.together(list(work.map(lambda rows: look(noise(rows)), every))),
            "independent uniform pixels",
        ),
    }
    found = []
    for split, (looked_at, how) in compared.items():
        found += records(Generated(looked_at, reference, experiment, split, how), METRICS)
    return Outcome(found)


def split_up(n: int) -> list[slice]:
    """The places 0 .. n - 1, `CHUNK` at a time."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
