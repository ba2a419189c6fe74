"""Paths from data to noise, what a network predicts on them, and how velocities follow from it (SiT: Ma et al. 2024).

t = 0 is the data and t = 1 the noise: x_t = alpha x_0 + sigma eps. Velocities are dx_t / dt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Time = Any  # a number, or a tensor of them
OfTime = Callable[[Time], Time]


class Path(NamedTuple):
    """alpha and sigma, their derivatives, and alpha sigma' - sigma alpha', as functions of t."""

    alpha: OfTime
    sigma: OfTime
    d_alpha: OfTime
    d_sigma: OfTime
    mixed: OfTime


def _cos(t: Time) -> Time:
    return torch.cos(t) if isinstance(t, Tensor) else math.cos(t)


def _sin(t: Time) -> Time:
    return torch.sin(t) if isinstance(t, Tensor) else math.sin(t)


def _exp(t: Time) -> Time:
    return torch.exp(t) if isinstance(t, Tensor) else math.exp(t)


def _rate(t: Time) -> Time:  # of the variance-preserving path, beta / 2 from 0.05 to 10
    return 9.95 * t + 0.05


def _alpha(t: Time) -> Time:
    return _exp(-4.975 * t * t - 0.05 * t)


def _sigma(t: Time) -> Time:
    return (1 - _alpha(t) ** 2) ** 0.5


HALF = math.pi / 2
PATHS = {
    "linear": Path(lambda t: 1 - t, lambda t: t, lambda t: -1 + 0 * t, lambda t: 1 + 0 * t, lambda t: 1 + 0 * t),
    "gvp": Path(  # generalised variance-preserving: a quarter of a circle
        lambda t: _cos(HALF * t),
        lambda t: _sin(HALF * t),
        lambda t: -HALF * _sin(HALF * t),
        lambda t: HALF * _cos(HALF * t),
        lambda t: HALF + 0 * t,
    ),
    "vp": Path(  # variance-preserving, of score-based diffusion
        _alpha,
        _sigma,
        lambda t: -_rate(t) * _alpha(t),
        lambda t: _rate(t) * _alpha(t) ** 2 / _sigma(t),
        lambda t: _rate(t) * _alpha(t) / _sigma(t),
    ),
}
TARGETS = ("velocity", "noise", "score")


class Flow(NamedTuple):
    """A path and what the network predicts on it: the velocity, the noise or the score."""

    path: str = "linear"
    target: str = "velocity"

    @property
    def law(self) -> Path:
        """The functions of the path."""
        return PATHS[self.path]

    def ends(self, training: bool) -> tuple[float, float]:
        """The times between which the network is trained, or sampled from: some predictions have no limit at an end."""
        if self.path == "vp":
            return (1e-5, 1.0) if training else (1e-3, 1.0)
        return (0.0, 1.0) if self.target == "velocity" else (1e-3, 1 - 1e-3)

    def x_at(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of latents x_0 and noise eps (B, L, Z) at times t (B,)."""
        t = t[:, None, None]
        return self.law.alpha(t) * x_0 + self.law.sigma(t) * eps

    def velocity_at(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The velocity of x_t at times t (B,)."""
        t = t[:, None, None]
        return self.law.d_alpha(t) * x_0 + self.law.d_sigma(t) * eps

    def error(self, predicted: Tensor, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What is squared in the loss; a score is multiplied by sigma, and so compared with the noise."""
        if self.target == "velocity":
            return predicted - self.velocity_at(x_0, eps, t)
        return predicted - eps if self.target == "noise" else self.law.sigma(t[:, None, None]) * predicted + eps

    def velocity(self, predicted: Tensor, x: Tensor, t: Time) -> Tensor:
        """The velocity at x = x_t from what the network predicts there."""
        if self.target == "velocity":
            return predicted
        noise = predicted if self.target == "noise" else -self.law.sigma(t) * predicted
        return (self.law.d_alpha(t) * x + self.law.mixed(t) * noise) / self.law.alpha(t)

    def score(self, x: Tensor, v: Tensor, t: float) -> Tensor:
        """The gradient of log p_t at x = x_t, for t > 0, from the velocity v there: -E[eps | x_t] / sigma."""
        law = self.law
        return -(law.alpha(t) * v - law.d_alpha(t) * x) / (law.mixed(t) * law.sigma(t))
