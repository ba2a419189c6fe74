"""Training batches: which images, which way round, as a function of (seed, stage, step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.draws import Draws, generator
from harness.images import flipped, to_tensor
from harness.machine import Machine


@dataclass(frozen=True)
class Batch:
    """One global batch: x (B, 3, H, W) in [-1, 1], the indices (B,) of its images, whether each is mirrored (B,)."""

    x: Tensor
    indices: Tensor
    flips: Tensor


class Batches:
    """Batches of training images for one stage; epochs follow one another, each in an order of its own."""

    def __init__(self, images: np.ndarray, batch_images: int, seed: int, stage: str, machine: Machine):
        self.images, self.batch_images, self.seed, self.stage, self.machine = images, batch_images, seed, stage, machine
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)

    def draws(self, step: int) -> Draws:
        """All random draws of `step`."""
        return Draws(self.seed, self.stage, step, self.machine.device)

    def __call__(self, step: int) -> Batch:
        indices = self.indices(step)
        flips = self.draws(step).uniform("flip", self.batch_images) < 0.5
        x = self.machine.put(to_tensor(self.images[indices.numpy()]))
        return Batch(flipped(x, flips), indices, flips)

    def indices(self, step: int) -> Tensor:
        """The places (B,) of the step's images in the data set."""
        total, first = len(self.images), step * self.batch_images
        places = torch.arange(first, first + self.batch_images)
        return torch.stack([self._order(place // total)[place % total] for place in places.tolist()])

    def _order(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            order = generator(self.seed, self.stage, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(len(self.images), generator=order)
        return self.order
