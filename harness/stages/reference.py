"""What generated images are compared with: features of the training images, and what they say of other sets."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work

revision = 1
about = "Lite2 features of the training images; gFD of real images, of the mean image and of noise"
FEATURES = "features.npy"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    return Size(experiment.data.train_images + 3 * experiment.data.val_images, 4 * 120 * experiment.data.train_images)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation}


def run(work: Work) -> Outcome:
    """Writes features.npy, float32 (n, D)."""
    import numpy as np
    import torch

    from harness import fidelity
    from harness.data import open_split
    from harness.draws import Draws
    from harness.metrics import Generated, records

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    side = experiment.evaluation.metrics_px
    train, val = (open_split(folder, split).images for split in ("train", "val"))
    parts = []
    with work.progress(len(train), "image") as bar:
        for start in range(0, len(train), 10 * fidelity.BATCH):
            work.check_stop()
            images = _channels_first(train[start : start + 10 * fidelity.BATCH])
            parts.append(fidelity.features(images, side, work.machine).features)
            bar.update(len(images))
    features = torch.cat(parts)
    np.save(work.run.folder / FEATURES, features.numpy())

    mean = _channels_first(train.mean(0, keepdims=True).round().astype(np.uint8))
    noise = (256 * Draws(0, "reference", 0).uniform("noise", len(val), *mean.shape[1:])).to(torch.uint8)
    compared = {
        "real": (_channels_first(val), "the images of val"),
        "mean image": (mean.expand(len(val), -1, -1, -1), "the mean training image"),
        "noise": (noise, "independent uniform pixels"),
    }
    found = []
    for split, (images, how) in compared.items():
        looked_at = fidelity.features(images, side, work.machine)
        found += records(Generated(looked_at, features, experiment, split, how))
    return Outcome(found)


def _channels_first(images: Any) -> Any:
    """uint8 (n, H, W, 3) -> (n, 3, H, W)."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
