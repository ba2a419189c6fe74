"""Rotary positions with learned frequencies (RoPE-mixed: Heo et al. 2024, as MAETok uses them)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.config import Transformer
from models.layers.transformer import on_grid

THETA = 10.0  # the base of the first magnitudes


class MixedRotary(nn.Module):
    """Angles of all blocks of a transformer: f_x column + f_y row, with f learned for every block, head and pair.

    `before` and `after` tokens of the sequence are not on the grid and are not rotated. A new frequency has magnitude
    theta^(-4 j / d), j = 0 .. d/4 - 1, once along a random direction of its head and once along the normal.
    """

    grid: Tensor

    def __init__(self, size: Transformer, side: int, before: int, after: int):
        super().__init__()
        self.padding = (0, 0, before, after)
        pairs = size.width // size.heads // 2
        magnitudes = THETA ** (-2 * torch.arange(pairs // 2) / pairs)
        direction = 2 * math.pi * torch.rand(size.depth, size.heads, 1)
        turned = torch.cat(
            [direction.expand(-1, -1, pairs // 2), direction.expand(-1, -1, pairs // 2) + math.pi / 2], -1
        )
        self.frequencies = nn.Parameter(torch.stack([turned.cos(), turned.sin()]) * magnitudes.repeat(2))
        row, column = on_grid(torch.arange(side, dtype=torch.float32)[:, None]).unbind(1)
        self.register_buffer("grid", torch.stack([column, row]), persistent=False)  # (2, N)

    def forward(self) -> Sequence[Tensor]:
        """The angles (heads, T, d/2) of every block."""
        angles = (self.frequencies[..., None, :] * self.grid[:, None, None, :, None]).sum(0)
        return nn.functional.pad(angles, self.padding).unbind(0)
