"""Flow matching on the linear path: x_t = (1 - t) x_0 + t eps, velocity v = eps - x_0 (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.masking import Draws

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # v of (x_t, t, y)
Velocity = Callable[[Tensor, float], Tensor]  # v of (x_t, t), the classes fixed


def x_at(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_t of latents x_0 and noise eps (B, L, Z) at times t (B,)."""
    t = t[:, None, None]
    return (1 - t) * x_0 + t * eps


def score(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The gradient of log p_t at x_t, for t > 0, from the velocity there: -E[eps | x_t] / t."""
    return -(x_t + (1 - t) * v) / t


def loss(network: Network, x_0: Tensor, y: Tensor, draws: Draws) -> Tensor:
    """Mean squared error of the velocity at t ~ U[0, 1)."""
    eps, t = draws.normal("noise", *x_0.shape), draws.uniform("time", len(x_0))
    return (network(x_at(x_0, eps, t), t, y) - (eps - x_0)).square().mean()


def dropped(y: Tensor, share: float, classes: int, draws: Draws) -> Tensor:
    """Classes y (B,), replaced by `classes`, which stands for none, with probability `share`."""
    return torch.where(draws.uniform("label dropout", len(y)) < share, classes, y)


class VelocityObjective(nn.Module):
    """What a generator minimises, where its network sees a class with probability 1 - `label_dropout`."""

    def __init__(self, network: nn.Module, label_dropout: float, classes: int):
        super().__init__()
        self.network, self.label_dropout, self.classes = network, label_dropout, classes

    def forward(self, x_0: Tensor, y: Tensor, draws: Draws) -> dict[str, Tensor]:
        """The term `velocity` of latents x_0 (B, L, Z) of classes y (B,)."""
        y = dropped(y, self.label_dropout, self.classes, draws)
        return {"velocity": loss(self.network, x_0, y, draws)}


def guided(network: Network, y: Tensor, classes: int, w: float, interval: tuple[float, float]) -> Velocity:
    """Classifier-free guidance on all channels (Ho & Salimans 2022): v_0 + w (v_y - v_0), v_0 without a class.

    Only for t in `interval` (Kynkäänniemi et al. 2024): elsewhere, and everywhere for w = 1, v_y alone is computed.
    """
    low, high = interval

    def velocity(x_t: Tensor, t: float) -> Tensor:
        times = torch.full((len(x_t),), t, device=x_t.device)
        if w == 1 or not low <= t <= high:
            return network(x_t, times, y)
        both = network(x_t.repeat(2, 1, 1), times.repeat(2), torch.cat([y, torch.full_like(y, classes)]))
        v_y, v_0 = both.chunk(2)
        return v_0 + w * (v_y - v_0)

    return velocity
