"""The reference of generated images: features of the training images, and the metrics of other sets against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.evaluation.reference import save
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work
from harness.system import plugins

if TYPE_CHECKING:
    from torch import Tensor


revision = 4
about = "features of the training images; gFD of real and fresh images, of the mean image and of noise"

KEPT = 50_000  # features at most, evenly spaced; the distance uses the moments of all images instead
parallel = True
METRICS = [
    "gfd",
    "classifier_score",
    "precision",
    "recall",
]  # none that depends on more of the evaluation than `config` hashes
CHUNK = 640  # images in memory at once


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    images = experiment.data.train_images + 4 * experiment.data.val_images
    work = images * flops.measure(experiment.evaluation)
    width: int = plugins.load("harness.networks.measures", experiment.evaluation.network, "measure").features
    return Size(images, 4 * width * min(KEPT, experiment.data.train_images), work)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"metrics_px": experiment.evaluation.side_px, "measure": experiment.evaluation.measure}


def run(work: Work) -> Outcome:
    """Writes features.npy, float32 (n, D), and for more than `KEPT` images moments.npz."""
    import numpy as np
    import torch

    from harness.data.splits import open_split
    from harness.data.tensors import channels_first
    from harness.evaluation import fidelity
    from harness.evaluation.frechet import FeatureMoments
    from harness.evaluation.generated import Generated
    from harness.evaluation.records import records
    from harness.evaluation.reference import TrainingFeatures
    from harness.networks.frozen import Outputs
    from harness.system.randomness import Draws

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    train, val = (open_split(folder, split).images for split in ("train", "val"))
    fresh = getattr(plugins.load("harness.data.sets", experiment.data.name, "data set"), "fresh", None)
    network, shape = fidelity.network(experiment.evaluation, work.machine), val.shape[1:]

    def extract(images: np.ndarray) -> Outputs:
        return fidelity.outputs(channels_first(images), network)

    def extract_train(rows: slice) -> tuple[np.ndarray, Tensor]:
        images = train[rows]
        return images.sum(0, dtype=np.float64), extract(images).features

    def noise(rows: slice) -> np.ndarray:
        uniform = Draws(0, "reference", rows.start).uniform("noise", rows.stop - rows.start, *shape)
        return (256 * uniform).to(torch.uint8).numpy()

    total, parts, slices = np.zeros(shape), [], split_up(len(train))
    kept = np.arange(min(KEPT, len(train))) * len(train) // min(KEPT, len(train))
    moments: FeatureMoments | None = None
    with work.progress(len(train), "image") as bar:
        for rows, (pixels, features) in zip(slices, work.map(extract_train, slices), strict=True):
            total += pixels
            parts.append(features[kept[(rows.start <= kept) & (kept < rows.stop)] - rows.start])
            if len(train) > KEPT:
                moments = FeatureMoments.of(features) if moments is None else moments + FeatureMoments.of(features)
            bar.update(rows.stop - rows.start)
    content = work.inputs["data"].fact("content")
    reference = TrainingFeatures(torch.cat(parts), moments, content)
    save(work.run, reference)

    mean = extract((total / len(train)).round().astype(np.uint8)[None])
    slices = split_up(len(val))
    further = {}
    if fresh is not None:
        made = fresh(experiment.data, len(val))
        parts_of_fresh = list(work.map(lambda rows: extract(made[rows]), slices))
        further["fresh"] = (fidelity.concatenated(parts_of_fresh), "further images of the law of train")
    compared = {
        "real": (fidelity.concatenated(list(work.map(lambda rows: extract(val[rows]), slices))), "the images of val"),
        **further,
        "mean image": (fidelity.concatenated([mean] * len(val)), "the mean training image"),
        "noise": (
            fidelity.concatenated(list(work.map(lambda rows: extract(noise(rows)), slices))),
            "independent uniform pixels",
        ),
    }
    results = []
    for split, (outputs, how) in compared.items():
        results += records(Generated(outputs, reference, experiment, split, how), METRICS)
    return Outcome(results, {"content": content})


def split_up(n: int) -> list[slice]:
    """The indices 0 .. n - 1, `CHUNK` at a time."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
