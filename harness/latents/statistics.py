"""Mean and standard deviation of every latent channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.store.runs import Run
from models.autoencoders.posterior import Posterior

STATISTICS = "statistics.npz"


class LatentStatistics(NamedTuple):
    """Mean and standard deviation (Z,) of every latent channel over training images, tokens and posterior samples."""

    mean: Tensor
    std: Tensor

    def normalise(self, z: Tensor) -> Tensor:
        """Scales latents (..., Z) to mean 0 and standard deviation 1 in every channel."""
        return (z - self.mean) / self.std

    def denormalise(self, z: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return z * self.std + self.mean

    def to(self, device: str) -> LatentStatistics:
        """The same statistics on a device."""
        return LatentStatistics(self.mean.to(device), self.std.to(device))


class LatentMoments:
    """Sums over posteriors, which give their statistics in closed form: E z = E mean, E z² = E mean² + E sigma²."""

    def __init__(self, channels: int):
        self.count = 0
        self.first, self.second = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)

    def add(self, posterior: Posterior) -> None:
        """Adds a posterior (..., Z)."""
        mean = posterior.mean.double().flatten(0, -2)
        self.count += len(mean)
        self.first += mean.sum(0)
        self.second += mean.square().sum(0)
        if posterior.log_variance is not None:
            self.second += posterior.log_variance.double().flatten(0, -2).exp().sum(0)

    def merge(self, other: LatentMoments) -> None:
        """Adds the sums of `other`."""
        self.count += other.count
        self.first += other.first
        self.second += other.second

    def to_json(self) -> dict[str, Any]:
        """The sums as JSON values, without loss of precision."""
        return {"count": self.count, "first": self.first.tolist(), "second": self.second.tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LatentMoments:
        """The inverse of `to_json`."""
        moments = cls(len(values["first"]))
        moments.count = values["count"]
        moments.first, moments.second = (
            torch.tensor(values[name], dtype=torch.float64) for name in ("first", "second")
        )
        return moments

    def statistics(self) -> LatentStatistics:
        """The statistics of all posteriors that were added."""
        mean = self.first / self.count
        return LatentStatistics(mean.float(), (self.second / self.count - mean**2).clamp(min=1e-12).sqrt().float())


def load_statistics(run: Run) -> LatentStatistics:
    """The statistics stored with the latents of `run`."""
    stored = run.arrays(STATISTICS)
    return LatentStatistics(torch.from_numpy(stored["mean"]), torch.from_numpy(stored["std"]))
