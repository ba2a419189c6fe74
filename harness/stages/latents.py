"""Posteriors of the training images and their mirror images, which the generator is trained on."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work

revision = 1
about = "posterior mean and log-variance of the training images, and the statistics that normalise them"
parallel = True
BATCH = 512
VIEWS = {"train": 2, "val": 1}  # as they are, and mirrored


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")  # decoder fine-tuning leaves the encoder as it is


def size(experiment: Experiment) -> Size:
    images = 2 * experiment.data.train_images + experiment.data.val_images
    moments = 2 if experiment.tokenizer.gaussian.on else 1
    return Size(images, 2 * moments * images * experiment.tokenizer.tokens * experiment.tokenizer.channels)


def config(experiment: Experiment) -> dict[str, Any]:
    return {}


def run(work: Work) -> Outcome:
    """Writes {split}_mean.npy and {split}_log_variance.npy, float16 (n, views, L, Z), and statistics.npz, (Z,) each.

    Views are the image as it is and, in `train`, mirrored.
    """
    from functools import partial

    import numpy as np

    from harness import weights
    from harness.arrays import create
    from harness.coding import encode
    from harness.data import open_split
    from harness.latents import STATISTICS, Moments
    from models.tokenizer import Posterior

    folder, tokenizer = work.inputs["data"].checked_folder(), work.experiment.tokenizer
    network = weights.load_tokenizer(work.experiment, work.inputs["tokenizer"]).to(work.machine.device)
    moments = Moments(tokenizer.channels)
    names = ("mean", "log_variance") if tokenizer.gaussian.on else ("mean",)

    def encoded(images: np.ndarray, place: tuple[int, int]) -> Posterior:
        start, view = place
        chunk = images[start : start + BATCH]
        return encode(network, chunk[:, :, ::-1] if view else chunk, work.machine)

    splits = {split: open_split(folder, split).images for split in VIEWS}
    with work.progress(sum(VIEWS[split] * len(images) for split, images in splits.items()), "image") as bar:
        for split, images in splits.items():
            shape = (len(images), VIEWS[split], tokenizer.tokens, tokenizer.channels)
            kept = names if work.processes.first else ()
            arrays = [create(work.run.folder / f"{split}_{name}.npy", np.float16, shape) for name in kept]
            places = [(start, view) for start in range(0, len(images), BATCH) for view in range(VIEWS[split])]
            for (start, view), posterior in zip(places, work.map(partial(encoded, images), places), strict=True):
                for array, name in zip(arrays, kept, strict=True):
                    array[start : start + BATCH, view] = getattr(posterior, name).numpy()
                if split == "train":
                    moments.add(posterior)
                bar.update(len(posterior.mean))
            for array in arrays:
                array.flush()
    mean, std = moments.statistics()
    np.savez(work.run.folder / STATISTICS, mean=mean.numpy(), std=std.numpy())
    return Outcome()
