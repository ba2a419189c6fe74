"""What metrics look at: a set of generated images beside the training images."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from harness.evaluation.reference import TrainingFeatures
from harness.experiments.experiment import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from harness.evaluation.frechet import Gaussian
    from harness.networks.frozen import Seen


REFERENCE_IMAGES = 10_000  # of precision and recall at most, as ADM's evaluator has them


class Generated:
    """What metrics look at: what a network says of a set of n images, beside what it says of the training images.

    `how` says where the images come from, for protocols; `step` is the step of the generator's training.
    """

    paired = False  # the images and those of the reference are compared as sets

    def __init__(
        self, looked_at: Seen, reference: TrainingFeatures, experiment: Experiment, split: str, how: str, step: int = 0
    ):
        self.looked_at, self.reference, self.experiment = looked_at, reference, experiment
        self.split, self.how, self.step = split, how, step

    @property
    def reference_images(self) -> int:
        """How many images the set is compared with."""
        return self.reference.images

    def __len__(self) -> int:
        return len(self.looked_at.features)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the images, and of the training images or of a part of them."""
        return self.looked_at.features, self.reference.features

    @cached_property
    def reference_gaussian(self) -> Gaussian:
        """The Gaussian fitted to the features of the training images."""
        from harness.evaluation.frechet import FeatureMoments

        return (self.reference.moments or FeatureMoments.of(self.reference.features)).gaussian

    @property
    def neighbours(self) -> int:
        """How many training images precision and recall look at, evenly spaced over the training set."""
        return min(len(self), len(self.reference.features), REFERENCE_IMAGES)

    @cached_property
    def precision_recall(self) -> tuple[float, float] | None:
        """Of the images against as many training images, at most `REFERENCE_IMAGES`; None for too few."""
        import torch

        from harness.evaluation.fidelity import NEIGHBOURS, precision_recall

        images, reference = self.features
        count = self.neighbours
        if count <= NEIGHBOURS:
            return None
        return precision_recall(images, reference[torch.arange(count) * len(reference) // count])
