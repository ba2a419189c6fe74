"""Samplers: from noise at t = 1 to latents at t = 0 along a velocity.

A sampler takes (velocity, x_1, times, noise, sde) and returns x_0. It steps along the falling `times` from 1 to 0;
`noise()` returns new N(0, I) noise of the shape of x_1; only the stochastic samplers read the last two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from models.flows.flow import LINEAR, Velocity
from models.flows.paths import Flow

DIFFUSIONS: dict[str, Callable[[float, float], float]] = {  # of (sigma, t)
    "sigma": lambda sigma, t: sigma,
    "twice_sigma": lambda sigma, t: 2 * sigma,
    "constant": lambda sigma, t: 1.0,
    "decreasing": lambda sigma, t: (math.cos(math.pi * (1 - t)) + 1) ** 2 / 2,
    "increasing_decreasing": lambda sigma, t: 2 * math.sin(math.pi * (1 - t)) ** 2,
}


class Sde(NamedTuple):
    """dx = (v - w s / 2) dt + sqrt(w) dW, s the score: the marginals of the ODE for every w (Ma et al. 2024).

    `diffusion` names w. Papers print w = sigma; the released code of SiT, REPA and SoftVQ-VAE draws with twice that.
    `last_by_mean`: the last step follows the drift of the SDE without noise, as there; else it follows the ODE.
    """

    flow: Flow = LINEAR
    diffusion: str = "sigma"
    last_by_mean: bool = False

    def w(self, t: float) -> float:
        """The diffusion coefficient at t."""
        return DIFFUSIONS[self.diffusion](self.flow.law.sigma(t), t)

    def drift(self, velocity: Velocity, x: Tensor, t: float) -> Tensor:
        """v - w s / 2 at x = x_t."""
        v = velocity(x, t)
        return v - self.w(t) / 2 * self.flow.score(x, v, t)


Sampler = Callable[..., Tensor]
SIGMA = Sde()


def times(steps: int, shift: float = 1.0, last: float | None = None) -> list[float]:
    """1 = t_0 > ... > t_steps = 0: evenly spaced times t, mapped to s t / (1 + (s - 1) t) (Esser et al. 2024).

    A shift s above 1 puts more steps near the noise, below 1 near the data. `last` is the length of the last step; the
    others share the rest evenly.
    """
    if last is None:
        equal = [remaining / steps for remaining in range(steps, -1, -1)]
    else:
        equal = [last + (1 - last) * remaining / max(1, steps - 1) for remaining in range(steps - 1, -1, -1)] + [0.0]
    return [shift * t / (1 - t + shift * t) for t in equal]


def euler(
    velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor], sde: Sde = SIGMA
) -> Tensor:
    """The ODE dx = v dt, order 1, one evaluation per step."""
    for t, _, per_unit in _steps(times):
        x = x - velocity(x, t) / per_unit
    return x


def heun(
    velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor], sde: Sde = SIGMA
) -> Tensor:
    """The ODE dx = v dt, order 2, two evaluations per step."""
    for t, after, per_unit in _steps(times):
        v = velocity(x, t)
        ahead = velocity(x - v / per_unit, after)
        x = x - (v + ahead) / (2 * per_unit)
    return x


def euler_maruyama(
    velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor], sde: Sde = SIGMA
) -> Tensor:
    """The SDE, weak order 1, one evaluation per step. The last step adds no noise."""
    for t, after, per_unit in _steps(times):
        if after == times[-1]:
            return x - (sde.drift(velocity, x, t) if sde.last_by_mean else velocity(x, t)) / per_unit
        x = x - sde.drift(velocity, x, t) / per_unit + (sde.w(t) / per_unit) ** 0.5 * noise()
    return x


def sde_heun(
    velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor], sde: Sde = SIGMA
) -> Tensor:
    """The SDE, two evaluations per step: first the noise, then two drifts from there (as SiT's code has it).

    The last step adds no noise and has one evaluation.
    """
    for t, after, per_unit in _steps(times):
        if after == times[-1]:
            return x - (sde.drift(velocity, x, t) if sde.last_by_mean else velocity(x, t)) / per_unit
        x = x + (sde.w(t) / per_unit) ** 0.5 * noise()
        drift = sde.drift(velocity, x, t)
        ahead = sde.drift(velocity, x - drift / per_unit, after)
        x = x - (drift + ahead) / (2 * per_unit)
    return x


# Dormand & Prince (1980): nodes, stages, and the weights of orders 5 and 4.
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ABSOLUTE, RELATIVE = 1e-6, 1e-3  # tolerances, as in released code
LEAST, MOST, SAFE = 0.2, 10.0, 0.9  # by how much a step may change, and the margin


def dopri5(
    velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor], sde: Sde = SIGMA
) -> Tensor:
    """The ODE, order 5 with steps chosen by the error, of every sample by itself: a batch does not decide its samples.

    `times` gives the ends, its first step, and with its number of steps the most evaluations: what has not arrived
    then goes on in one step of Euler.
    """
    dtype, x = x.dtype, x.double() if x.dtype == torch.float64 else x.float()
    t, end = torch.full((len(x),), times[0], device=x.device, dtype=x.dtype), times[-1]
    h = torch.full_like(t, times[0] - times[1])
    for _ in range(len(times) - 1):
        if not (t > end).any():
            break
        h = torch.minimum(h, t - end)
        moved, error = _dopri_step(velocity, x, t, h)
        scale = ABSOLUTE + RELATIVE * torch.maximum(x.abs(), moved.abs())
        norm = (error / scale).square().reshape(len(x), -1).mean(1).sqrt()
        good = norm <= 1
        x = torch.where(_each(good, x), moved, x)
        t = torch.where(good, t - h, t)
        h = h * (SAFE * norm.clamp(min=1e-10) ** -0.2).clamp(LEAST, MOST)
    return (x - _each(t - end, x) * velocity(x, t.clamp(min=end))).to(dtype)


def _each(of_samples: Tensor, x: Tensor) -> Tensor:
    """Values (B,) in a shape that goes with x (B, ...)."""
    return of_samples.view(-1, *[1] * (x.ndim - 1))


def _dopri_step(velocity: Velocity, x: Tensor, t: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """x after a step of lengths h (B,), and the estimate of its error."""
    step, slopes = _each(h, x), list[Tensor]()
    moved = x
    for node, stage in zip(NODES, STAGES, strict=True):
        moved = x - step * sum((a * k for a, k in zip(stage, slopes, strict=True)), torch.zeros_like(x))
        slopes.append(velocity(moved, t - node * h).to(x.dtype))
    fourth = x - step * sum((b * k for b, k in zip(FOURTH, slopes, strict=True)), torch.zeros_like(x))
    return moved, moved - fourth


def _steps(times: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """Start, end and inverse length of each step.

    For equal steps the inverse length is a whole number up to rounding in float64, which float32 does not resolve.
    """
    for t, after in pairwise(times):
        yield t, after, 1 / (t - after)


SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "euler_maruyama": euler_maruyama,
    "sde_heun": sde_heun,
    "dopri5": dopri5,
}
