"""Training batches: which images, and which of them mirrored, as a function of (seed, stage, step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.data.indexed import IndexedImages, Pending
from harness.data.rows import Rows
from harness.data.tensors import flipped, in_range
from harness.system.machine import Machine, on
from harness.system.randomness import WHOLE, Draws, Part, generator
from harness.system.step_draws import RecurringDraws, StepDraws
from harness.training.ahead import Ahead, InAdvance, OwnStream, Reading


class Order:
    """Which of `total` images a step of a stage sees; epoch after epoch, each in a new random order.

    Indices and flips are on the device `home`, where the images or latents are. Without `flip` no image is mirrored.
    """

    def __init__(
        self,
        total: int,
        batch_images: int,
        seed: int,
        stage: str,
        machine: Machine,
        home: str = "cpu",
        flip: bool = True,
    ):
        self.total, self.batch_images, self.seed, self.stage, self.machine = total, batch_images, seed, stage, machine
        self.home, self.orders, self.share = home, dict[int, Tensor](), 0.5 if flip else 0.0
        self.recurring: dict[tuple[str, Part], RecurringDraws] = {}
        self.drawn: dict[str, tuple[int, Part, StepDraws]] = {}  # the last, by device

    def draws(self, step: int, part: Part = WHOLE) -> StepDraws:
        """All random draws of `step` for a part of its batch."""
        return self._draws(self.machine.device, step, part)

    def _draws(self, device: str, step: int, part: Part) -> StepDraws:
        """The same on a device. All who take part in a step share them."""
        if device not in self.drawn or self.drawn[device][:2] != (step, part):
            if (device, part) not in self.recurring:
                self.recurring[device, part] = RecurringDraws(Draws(self.seed, self.stage, step, device, part))
            self.drawn[device] = step, part, self.recurring[device, part].at(step)
        return self.drawn[device][2]

    def indices(self, step: int, part: Part = WHOLE) -> Tensor:
        """The indices (B,) in the data set of the images in a part of the step's batch."""
        first, stop, chosen = step * self.batch_images, (step + 1) * self.batch_images, []
        while first < stop:
            epoch, at = divmod(first, self.total)
            chosen.append(self._order(epoch)[at : at + stop - first])
            first += len(chosen[-1])
        return part(torch.cat(chosen))

    def flips(self, step: int, part: Part = WHOLE) -> Tensor:
        """Whether each image in a part of the step's batch is mirrored (B,)."""
        draws = self._draws(self.home, step, part)
        return draws.uniform("flip", self.batch_images // part.of) < self.share

    def _order(self, epoch: int) -> Tensor:
        """The order of an epoch; this and the one before are kept, as a batch may have images of both."""
        orders = self.orders  # another thread may replace them
        if epoch in orders:
            return orders[epoch]
        order = generator(self.seed, self.stage, "order", epoch)
        drawn = on(torch.randperm(self.total, generator=order), self.home)
        self.orders = {e: o for e, o in orders.items() if e == epoch - 1} | {epoch: drawn}
        return drawn


@dataclass(frozen=True)
class Batch:
    """A batch or a part of one: images x (B, 3, H, W) in [-1, 1], their indices (B,), whether each is mirrored (B,)."""

    x: Tensor
    indices: Tensor
    flips: Tensor


class Batches:
    """Batches of training images for one stage.

    Encoded images are decoded `AHEAD` steps in advance. Images that a GPU does not keep are sent one step in advance.
    """

    AHEAD = 2

    def __init__(
        self, images: np.ndarray, batch_images: int, seed: int, stage: str, machine: Machine, flip: bool = True
    ):
        self.images, self.rows = images, None if isinstance(images, IndexedImages) else Rows(images, machine.device)
        home = self.rows.home if self.rows else "cpu"
        self.order = Order(len(images), batch_images, seed, stage, machine, home, flip)
        self.ahead = Ahead(self._reading, OwnStream()) if machine.device != home else None
        self.decoding = InAdvance(self._begun)

    def draws(self, step: int, part: Part = WHOLE) -> StepDraws:
        """All random draws of `step` for a part of its batch."""
        return self.order.draws(step, part)

    @property
    def damaged(self) -> list[str]:
        """The names of images that became unreadable during the training and were replaced by others."""
        return self.images.damaged if isinstance(self.images, IndexedImages) else []

    def __call__(self, step: int, part: Part = WHOLE) -> Batch:
        indices, flips = self.order.indices(step, part), self.order.flips(step, part)
        if self.ahead is not None:
            (pixels,) = self.ahead(step, part)
        elif self.rows:
            pixels = self.rows[indices,]
        else:
            (pixels,) = self._reading(step, part)()
        return Batch(flipped(in_range(pixels), self.order.machine.put(flips)), indices, flips)

    def _reading(self, step: int, part: Part) -> Reading:
        """What reads the pixels of a part of a step's batch, uint8 (B, H, W, 3), into the memory of the host."""
        images, indices = self.images, self.order.indices(step, part).numpy()
        if isinstance(images, IndexedImages):
            return lambda: (torch.from_numpy(self._decoded(step, part)),)
        return lambda: (torch.from_numpy(images[indices]),)

    def _decoded(self, step: int, part: Part) -> np.ndarray:
        """The images of `step`; starts to decode the next steps and cancels all others."""
        kept = self.AHEAD + (self.ahead is not None)  # another part of the batch may be a step further
        return self.decoding.take(step, part, self.AHEAD, kept)

    def _begun(self, step: int, part: Part) -> Pending:
        assert isinstance(self.images, IndexedImages)
        return self.images.begin(self.order.indices(step, part).numpy())
