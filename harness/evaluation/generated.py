"""The input of metrics of generation: a set of generated images and the training images."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from harness.evaluation.reference import TrainingFeatures
from harness.experiments.experiment import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from harness.evaluation.frechet import Gaussian
    from harness.networks.frozen import Outputs


REFERENCE_IMAGES = 10_000  # maximum for precision and recall, as in ADM's evaluator


class LatentSets(NamedTuple):
    """Generated latents (n, L, Z) and samples of the posteriors of training images (m, L, Z), normalised alike."""

    generated: Tensor
    encoded: Tensor


class Generated:
    """The input of metrics: outputs of a network for a set of n images, and its features of the training images.

    `how` describes in protocols how the images were made. `step` is the training step of the generator. `latents` are
    those of the images, to be compared with encoded ones.
    """

    paired = False  # images and reference are compared as sets
    names = ()

    def __init__(
        self,
        outputs: Outputs,
        reference: TrainingFeatures,
        experiment: Experiment,
        split: str,
        how: str,
        step: int = 0,
        latents: LatentSets | None = None,
    ):
        self.outputs, self.reference, self.experiment = outputs, reference, experiment
        self.split, self.how, self.step, self.latents = split, how, step, latents

    @property
    def reference_images(self) -> int:
        """The number of training images in the comparison."""
        return self.reference.images

    @property
    def content(self) -> str:
        """The hash of the data set's arrays."""
        return self.reference.content

    def __len__(self) -> int:
        return len(self.outputs.features)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the images, and (m, D) of all training images or of a part of them."""
        return self.outputs.features, self.reference.features

    @cached_property
    def reference_gaussian(self) -> Gaussian:
        """The Gaussian fitted to the features of the training images."""
        from harness.evaluation.frechet import FeatureMoments

        return (self.reference.moments or FeatureMoments.of(self.reference.features)).gaussian

    @property
    def neighbours(self) -> int:
        """The number of training images for precision and recall, evenly spaced over the training set."""
        return min(len(self), len(self.reference.features), REFERENCE_IMAGES)

    @cached_property
    def precision_recall(self) -> tuple[float, float] | None:
        """Precision and recall against `neighbours` training images; None if there are too few images."""
        import torch

        from harness.evaluation.fidelity import NEIGHBOURS, precision_recall

        images, reference = self.features
        count = self.neighbours
        if count <= NEIGHBOURS:
            return None
        return precision_recall(images, reference[torch.arange(count) * len(reference) // count])
