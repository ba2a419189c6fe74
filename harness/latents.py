"""The latents of the training images, as the generator sees them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.batches import Order
from harness.draws import WHOLE, Part
from harness.store import Run
from models.tokenizer import Posterior

STATISTICS = "statistics.npz"


class Statistics(NamedTuple):
    """Mean and standard deviation (Z,) of every latent channel over training images, tokens and posterior samples."""

    mean: Tensor
    std: Tensor

    def normalise(self, z: Tensor) -> Tensor:
        """Latents (..., Z) to mean 0 and standard deviation 1 in every channel."""
        return (z - self.mean) / self.std

    def denormalise(self, z: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return z * self.std + self.mean

    def to(self, device: str) -> Statistics:
        """The same on a device."""
        return Statistics(self.mean.to(device), self.std.to(device))


class Moments:
    """The statistics of posteriors seen part by part, in closed form: E z = E mean, E z² = E mean² + E sigma²."""

    def __init__(self, channels: int):
        self.count = 0
        self.first, self.second = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)

    def add(self, posterior: Posterior) -> None:
        """Takes in a posterior (..., Z)."""
        mean = posterior.mean.double().flatten(0, -2)
        self.count += len(mean)
        self.first += mean.sum(0)
        self.second += mean.square().sum(0)
        if posterior.log_variance is not None:
            self.second += posterior.log_variance.double().flatten(0, -2).exp().sum(0)

    def statistics(self) -> Statistics:
        """Of all that was taken in."""
        mean = self.first / self.count
        return Statistics(mean.float(), (self.second / self.count - mean**2).clamp(min=1e-12).sqrt().float())


def load_statistics(run: Run) -> Statistics:
    """The statistics stored with the latents of `run`."""
    stored = np.load(run.file(STATISTICS))
    return Statistics(torch.from_numpy(stored["mean"]), torch.from_numpy(stored["std"]))


class Latents:
    """Posteriors of one split, memory-mapped, (n, views, L, Z): the images as they are and, of `train`, mirrored."""

    def __init__(self, run: Run, split: str, labels: np.ndarray, device: str):
        def array(name: str) -> np.ndarray:
            return np.load(run.file(f"{split}_{name}.npy"), mmap_mode="r")

        self.mean = array("mean")
        self.log_variance = array("log_variance") if f"{split}_log_variance.npy" in run.result()["files"] else None
        self.labels, self.device = labels, device
        self.statistics = load_statistics(run).to(device)

    def batch(self, order: Order, step: int, part: Part = WHOLE) -> tuple[Tensor, Tensor]:
        """Normalised samples x_0 (B, L, Z) and classes y (B,) of a part of a step's batch."""
        indices, flips = order.indices(step, part).numpy(), order.flips(step, part).long().cpu().numpy()
        noise = order.draws(step, part).normal("latents", len(indices), *self.mean.shape[2:])
        return self.at(indices, flips, noise)

    def at(self, indices: np.ndarray, views: np.ndarray | int, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised samples x_0 (B, L, Z), by noise of their shape, and classes y (B,) at places of the arrays."""

        def part(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(array[indices, views], np.float32)).to(self.device)

        log_variance = None if self.log_variance is None else part(self.log_variance)
        z = Posterior(part(self.mean), log_variance).sample(noise)
        return self.statistics.normalise(z), torch.from_numpy(np.asarray(self.labels[indices])).to(self.device)
