"""Training batches: which images, and which of them mirrored, as a function of (seed, stage, step)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.data.indexed import IndexedImages, Pending
from harness.data.tensors import flipped, to_tensor
from harness.system.machine import Machine
from harness.system.randomness import WHOLE, Draws, Part, generator


class Order:
    """Which of `total` images a step of a stage sees; epoch after epoch, each in a new random order."""

    def __init__(self, total: int, batch_images: int, seed: int, stage: str, machine: Machine):
        self.total, self.batch_images, self.seed, self.stage, self.machine = total, batch_images, seed, stage, machine
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)

    def draws(self, step: int, part: Part = WHOLE) -> Draws:
        """All random draws of `step` for a part of its batch."""
        return Draws(self.seed, self.stage, step, self.machine.device, part)

    def indices(self, step: int, part: Part = WHOLE) -> Tensor:
        """The indices (B,) in the data set of the images in a part of the step's batch."""
        first = step * self.batch_images
        positions = torch.arange(first, first + self.batch_images)
        chosen = [self._order(position // self.total)[position % self.total] for position in part(positions).tolist()]
        return torch.stack(chosen)

    def flips(self, step: int, part: Part = WHOLE) -> Tensor:
        """Whether each image in a part of the step's batch is mirrored (B,)."""
        return self.draws(step, part).uniform("flip", self.batch_images // part.of) < 0.5

    def _order(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            order = generator(self.seed, self.stage, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(self.total, generator=order)
        return self.order


@dataclass(frozen=True)
class Batch:
    """A batch or a part of one: images x (B, 3, H, W) in [-1, 1], their indices (B,), whether each is mirrored (B,)."""

    x: Tensor
    indices: Tensor
    flips: Tensor


class Batches:
    """Batches of training images for one stage. Encoded images are decoded `AHEAD` steps in advance."""

    AHEAD = 2

    def __init__(self, images: np.ndarray, batch_images: int, seed: int, stage: str, machine: Machine):
        self.images, self.order = images, Order(len(images), batch_images, seed, stage, machine)
        self.pending: dict[tuple[int, Part], Pending] = {}

    def draws(self, step: int, part: Part = WHOLE) -> Draws:
        """All random draws of `step` for a part of its batch."""
        return self.order.draws(step, part)

    @property
    def damaged(self) -> list[str]:
        """The names of images that became unreadable during the training and were replaced by others."""
        return self.images.damaged if isinstance(self.images, IndexedImages) else []

    def __call__(self, step: int, part: Part = WHOLE) -> Batch:
        indices, flips = self.order.indices(step, part), self.order.flips(step, part)
        if isinstance(self.images, IndexedImages):
            pixels = self._decoded(self.images, step, part)
        else:
            pixels = self.images[indices.numpy()]
        return Batch(flipped(self.order.machine.put(to_tensor(pixels)), flips), indices, flips)

    def _decoded(self, images: IndexedImages, step: int, part: Part) -> np.ndarray:
        """The images of `step`; starts to decode the next steps and cancels all others, which a jump leaves behind."""
        self._cancel(lambda other: not step <= other <= step + self.AHEAD)
        for later in range(step, step + self.AHEAD + 1):
            if (later, part) not in self.pending:
                self.pending[later, part] = images.begin(self.order.indices(later, part).numpy())
        try:
            return self.pending.pop((step, part)).result()
        except BaseException:
            self._cancel(lambda other: True)
            raise

    def _cancel(self, selects: Callable[[int], bool]) -> None:
        """Cancels the decoding of the steps that `selects` accepts."""
        for key in [key for key in self.pending if selects(key[0])]:
            self.pending.pop(key).cancel()
