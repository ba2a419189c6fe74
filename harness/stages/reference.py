"""What generated images are compared with: features of the training images, and what they say of other sets."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work

revision = 2
about = "Lite2 features of the training images; gFD of real images, of the mean image and of noise"
FEATURES = "features.npy"
parallel = True
METRICS = ["gfd", "classifier_score", "precision", "recall"]  # none that reads more of the evaluation
CHUNK = 640  # images in memory at once


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    return Size(experiment.data.train_images + 3 * experiment.data.val_images, 4 * 120 * experiment.data.train_images)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"metrics_px": experiment.evaluation.metrics_px}


def run(work: Work) -> Outcome:
    """Writes features.npy, float32 (n, D)."""
    import numpy as np
    import torch

    from harness import fidelity
    from harness.data import open_split
    from harness.draws import Draws
    from harness.images import channels_first
    from harness.measures import Seen
    from harness.metrics import Generated, records

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    train, val = (open_split(folder, split).images for split in ("train", "val"))
    side, shape = experiment.evaluation.metrics_px, val.shape[1:]

    def look(images: np.ndarray) -> Seen:
        return fidelity.look(channels_first(images), side, work.machine)

    def noise(start: int, count: int) -> np.ndarray:
        uniform = Draws(0, "reference", start).uniform("noise", count, *shape)
        return (256 * uniform).to(torch.uint8).numpy()

    def split_up(images: np.ndarray) -> list[np.ndarray]:
        return [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]

    total, parts = np.zeros(shape), []
    chunks = split_up(train)
    with work.progress(len(train), "image") as bar:
        for chunk, looked_at in zip(chunks, work.map(look, chunks), strict=True):
            total += chunk.sum(0, dtype=np.float64)
            parts.append(looked_at.features)
            bar.update(len(chunk))
    features = torch.cat(parts)
    np.save(work.run.folder / FEATURES, features.numpy())

    places = [(start, len(val[start : start + CHUNK])) for start in range(0, len(val), CHUNK)]
    mean = look((total / len(train)).round().astype(np.uint8)[None])
    compared = {
        "real": (fidelity.together(list(work.map(look, split_up(val)))), "the images of val"),
        "mean image": (fidelity.together([mean] * len(val)), "the mean training image"),
        "noise": (
            fidelity.together(list(work.map(lambda place: look(noise(*place)), places))),
            "independent uniform pixels",
        ),
    }
    found = []
    for split, (looked_at, how) in compared.items():
        found += records(Generated(looked_at, features, experiment, split, how), METRICS)
    return Outcome(found)
