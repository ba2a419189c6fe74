"""Training batches: which images, which way round, as a function of (seed, stage, step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.draws import Draws, generator
from harness.images import flipped, to_tensor
from harness.machine import Machine


class Order:
    """Which of `total` images a step of a stage sees; epochs follow one another, each in an order of its own."""

    def __init__(self, total: int, batch_images: int, seed: int, stage: str, machine: Machine):
        self.total, self.batch_images, self.seed, self.stage, self.machine = total, batch_images, seed, stage, machine
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)

    def draws(self, step: int) -> Draws:
        """All random draws of `step`."""
        return Draws(self.seed, self.stage, step, self.machine.device)

    def indices(self, step: int) -> Tensor:
        """The places (B,) of the step's images in the data set."""
        first = step * self.batch_images
        places = torch.arange(first, first + self.batch_images)
        return torch.stack([self._order(place // self.total)[place % self.total] for place in places.tolist()])

    def flips(self, step: int) -> Tensor:
        """Whether each of the step's images is mirrored (B,)."""
        return self.draws(step).uniform("flip", self.batch_images) < 0.5

    def _order(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            order = generator(self.seed, self.stage, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(self.total, generator=order)
        return self.order


@dataclass(frozen=True)
class Batch:
    """One global batch: x (B, 3, H, W) in [-1, 1], the indices (B,) of its images, whether each is mirrored (B,)."""

    x: Tensor
    indices: Tensor
    flips: Tensor


class Batches:
    """Batches of training images for one stage."""

    def __init__(self, images: np.ndarray, batch_images: int, seed: int, stage: str, machine: Machine):
        self.images, self.order = images, Order(len(images), batch_images, seed, stage, machine)

    def draws(self, step: int) -> Draws:
        """All random draws of `step`."""
        return self.order.draws(step)

    def __call__(self, step: int) -> Batch:
        indices, flips = self.order.indices(step), self.order.flips(step)
        x = self.order.machine.put(to_tensor(self.images[indices.numpy()]))
        return Batch(flipped(x, flips), indices, flips)
