"""Guidance: sampling from a generator with more weight on the class."""

from __future__ import annotations

import torch
from torch import Tensor

from models.flows.flow import Network, Velocity


def guided(network: Network, y: Tensor, classes: int, w: float, interval: tuple[float, float]) -> Velocity:
    """Classifier-free guidance on all channels (Ho & Salimans 2022): v_0 + w (v_y - v_0), v_0 without a class.

    Applies only for t in `interval` (Kynkäänniemi et al. 2024). For other t, and for w = 1, only v_y is computed.
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
