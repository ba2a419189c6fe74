"""Guidance: sampling from a generator with more weight on the class, or away from a worse generator."""

from __future__ import annotations

import torch
from torch import Tensor

from models.flows.flow import LINEAR, Network, Velocity
from models.flows.paths import Flow


def guided(
    network: Network,
    y: Tensor,
    classes: int,
    w: float,
    interval: tuple[float, float],
    flow: Flow = LINEAR,
    worse: Network | None = None,
    channels: int | None = None,
) -> Velocity:
    """Classifier-free guidance (Ho & Salimans 2022): v_0 + w (v_y - v_0), v_0 without a class.

    Applies only for t in `interval` (Kynkäänniemi et al. 2024). For other t, and for w = 1, only v_y is computed. With
    a `worse` network, v_0 is its velocity for the class (autoguidance: Karras et al. 2024). It guides all channels or,
    as the released code of DiT, SiT and LightningDiT does, the first `channels`; the others have v_y.
    """
    low, high = interval

    def velocity(x_t: Tensor, t: float | Tensor) -> Tensor:
        times = t if isinstance(t, Tensor) else torch.full((len(x_t),), t, device=x_t.device)
        if isinstance(t, Tensor):  # times of samples differ
            t = t.float()
            inside = ((t >= low) & (t <= high))[:, None, None]
            plain, with_guidance = (network(x_t, times, y),) * 2 if w == 1 else _predicted(x_t, times)
            return flow.velocity(torch.where(inside, with_guidance, plain), x_t, t[:, None, None])
        predicted = _predicted(x_t, times)[1] if w != 1 and low <= t <= high else network(x_t, times, y)
        return flow.velocity(predicted, x_t, t)

    def _predicted(x_t: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity for the class, and the guided one."""
        if worse is not None:
            v_y, v_0 = network(x_t, times, y), worse(x_t, times, y)
        else:
            both = network(x_t.repeat(2, 1, 1), times.repeat(2), torch.cat([y, torch.full_like(y, classes)]))
            v_y, v_0 = both.chunk(2)
        v = v_0 + w * (v_y - v_0)
        return v_y, v if channels is None else torch.cat([v[..., :channels], v_y[..., channels:]], dim=-1)

    return velocity
