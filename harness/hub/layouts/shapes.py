"""Sizes that shapes of tensors tell, and orders of pixels."""

from __future__ import annotations

import math

from torch import Tensor

from harness.hub.checkpoint import Checkpoint
from harness.system.errors import Mistake

HEADS = {1152: 16, 1280: 16}  # of widths whose heads are not 64 wide


def heads(width: int) -> int:
    """The attention heads of a released transformer, which no tensor tells: all that we know have heads 64 wide."""
    return HEADS.get(width) or max(1, width // 64)


def grid_side(released: Checkpoint, name: str, others: int = 0) -> int:
    """The side of the grid whose positions (1, `others` + N, D) or (`others` + N, D) are called `name`."""
    rank = (1, None, None) if released.rank(name) == 3 else (None, None)
    n = released.shape(name, *rank)[-2] - others
    if n < 1 or math.isqrt(n) ** 2 != n:
        raise Mistake(f"{released.about}: {name} has positions of {n} places, which are no square grid")
    return math.isqrt(n)


def channels_first(pixels: Tensor, side: int) -> Tensor:
    """The first axis of a tensor, pixels of a patch, from the order (row, column, channel) to channels first."""
    return pixels.unflatten(0, (side, side, -1)).movedim(2, 0).flatten(0, 2)
