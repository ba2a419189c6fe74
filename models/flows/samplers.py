"""Samplers: from noise at t = 1 to latents at t = 0 along a velocity.

A sampler takes (velocity, x_1, times, noise) and returns x_0. It steps along the falling `times` from 1 to 0;
`noise()` returns new N(0, I) noise of the shape of x_1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from models.flows.flow import Velocity, score

Sampler = Callable[[Velocity, Tensor, Sequence[float], Callable[[], Tensor]], Tensor]


def times(steps: int, shift: float = 1.0) -> list[float]:
    """1 = t_0 > ... > t_steps = 0: evenly spaced times t, mapped to s t / (1 + (s - 1) t) (Esser et al. 2024).

    A shift s above 1 puts more steps near the noise, below 1 near the data.
    """
    equal = [remaining / steps for remaining in range(steps, -1, -1)]
    return [shift * t / (1 - t + shift * t) for t in equal]


def euler(velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor]) -> Tensor:
    """The ODE dx = v dt, order 1, one evaluation per step."""
    for t, _, per_unit in _steps(times):
        x = x - velocity(x, t) / per_unit
    return x


def heun(velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor]) -> Tensor:
    """The ODE dx = v dt, order 2, two evaluations per step."""
    for t, after, per_unit in _steps(times):
        v = velocity(x, t)
        ahead = velocity(x - v / per_unit, after)
        x = x - (v + ahead) / (2 * per_unit)
    return x


def euler_maruyama(velocity: Velocity, x: Tensor, times: Sequence[float], noise: Callable[[], Tensor]) -> Tensor:
    """The SDE dx = (v - t s / 2) dt + sqrt(t) dW, s the score, with the marginals of the ODE (Ma et al. 2024).

    Weak order 1, one evaluation per step. The last step adds no noise: it follows the ODE to t = 0.
    """
    for t, after, per_unit in _steps(times):
        v = velocity(x, t)
        if after == 0:
            return x - v / per_unit
        x = x - (v - t / 2 * score(x, v, t)) / per_unit + (t / per_unit) ** 0.5 * noise()
    return x


def _steps(times: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """Start, end and inverse length of each step.

    For equal steps the inverse length is a whole number up to rounding in float64, which float32 does not resolve.
    """
    for t, after in pairwise(times):
        yield t, after, 1 / (t - after)


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "euler_maruyama": euler_maruyama}
