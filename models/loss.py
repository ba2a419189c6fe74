"""What training minimises, before weights."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """Named terms before their weights, and the reconstruction (B, 3, H, W) that a discriminator would look at."""

    terms: dict[str, Tensor]
    reconstruction: Tensor | None = None
