"""Features of the training images, with which generated images are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.store.runs import Run

if TYPE_CHECKING:
    from torch import Tensor

    from harness.evaluation.frechet import FeatureMoments

if TYPE_CHECKING:
    from torch import Tensor


class TrainingFeatures(NamedTuple):
    """Features (N, D) of the training images; of many a part, evenly spaced, beside the moments of all."""

    features: Tensor
    moments: FeatureMoments | None = None

    @property
    def images(self) -> int:
        """How many training images there are."""
        return len(self.features) if self.moments is None else self.moments.n


FEATURES, MOMENTS = "features.npy", "moments.npz"


def save(run: Run, reference: TrainingFeatures) -> None:
    """Writes what `load` reads."""
    import numpy as np

    np.save(run.folder / FEATURES, reference.features.numpy())
    if (m := reference.moments) is not None:
        np.savez(run.folder / MOMENTS, n=m.n, mean=m.mean.numpy(), scatter=m.scatter.numpy())


def load(run: Run) -> TrainingFeatures:
    """What a finished run says of the training images."""
    import numpy as np
    import torch

    from harness.evaluation.frechet import FeatureMoments

    features = torch.from_numpy(np.load(run.file(FEATURES)))
    if MOMENTS not in run.result()["files"]:
        return TrainingFeatures(features)
    stored = np.load(run.file(MOMENTS))
    mean, scatter = (torch.from_numpy(stored[name]) for name in ("mean", "scatter"))
    return TrainingFeatures(features, FeatureMoments(int(stored["n"]), mean, scatter))
