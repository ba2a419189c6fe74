"""The loss of a training step, before weights."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """Named terms before their weights, and the reconstruction (B, 3, H, W) for a discriminator."""

    terms: dict[str, Tensor]
    reconstruction: Tensor | None = None
