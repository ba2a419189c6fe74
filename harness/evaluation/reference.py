"""Features of the training images: the reference for generated images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.store.runs import Run

if TYPE_CHECKING:
    from torch import Tensor

    from harness.evaluation.frechet import FeatureMoments


class TrainingFeatures(NamedTuple):
    """Features (N, D) of the training images. If there are many: of an evenly spaced part, with the moments of all.

    `content` is the hash of the data set's arrays.
    """

    features: Tensor
    moments: FeatureMoments | None = None
    content: str = ""

    @property
    def images(self) -> int:
        """The number of training images."""
        return len(self.features) if self.moments is None else self.moments.n


FEATURES, MOMENTS = "features.npy", "moments.npz"


def save(run: Run, reference: TrainingFeatures) -> None:
    """Writes the features into the folder of a run, for `load`."""
    import numpy as np

    np.save(run.folder / FEATURES, reference.features.numpy())
    if (m := reference.moments) is not None:
        np.savez(run.folder / MOMENTS, n=m.n, mean=m.mean.numpy(), scatter=m.scatter.numpy())


def load(run: Run) -> TrainingFeatures:
    """The features in the folder of a finished run."""
    import torch

    from harness.evaluation.frechet import FeatureMoments

    features, result = torch.from_numpy(run.array(FEATURES)), run.result()
    content = str(result["facts"].get("content", ""))
    if MOMENTS not in result["files"]:
        return TrainingFeatures(features, content=content)
    stored = run.arrays(MOMENTS)
    mean, scatter = (torch.from_numpy(stored[name]) for name in ("mean", "scatter"))
    return TrainingFeatures(features, FeatureMoments(int(stored["n"]), mean, scatter), content)
