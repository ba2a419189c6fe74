"""Samplers: from noise at t = 1 to latents at t = 0 along a velocity, in equal steps.

Each takes (velocity, x_1, steps, noise) and returns x_0; `noise()` gives fresh N(0, I) of the shape of x_1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from models.flow import Velocity, score

Sampler = Callable[[Velocity, Tensor, int, Callable[[], Tensor]], Tensor]


def euler(velocity: Velocity, x: Tensor, steps: int, noise: Callable[[], Tensor]) -> Tensor:
    """The ODE dx = v dt, order 1, one evaluation a step."""
    for left in range(steps, 0, -1):
        x = x - velocity(x, left / steps) / steps
    return x


def heun(velocity: Velocity, x: Tensor, steps: int, noise: Callable[[], Tensor]) -> Tensor:
    """The ODE dx = v dt, order 2, two evaluations a step."""
    for left in range(steps, 0, -1):
        v = velocity(x, left / steps)
        ahead = velocity(x - v / steps, (left - 1) / steps)
        x = x - (v + ahead) / (2 * steps)
    return x


def euler_maruyama(velocity: Velocity, x: Tensor, steps: int, noise: Callable[[], Tensor]) -> Tensor:
    """The SDE dx = (v - t s / 2) dt + sqrt(t) dW, s the score, with the marginals of the ODE (Ma et al. 2024).

    Weak order 1, one evaluation a step. The last step adds no noise: it takes the ODE to t = 0.
    """
    for left in range(steps, 1, -1):
        t = left / steps
        v = velocity(x, t)
        x = x - (v - t / 2 * score(x, v, t)) / steps + (t / steps) ** 0.5 * noise()
    return x - velocity(x, 1 / steps) / steps


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "euler_maruyama": euler_maruyama}
