"""Sizes, random tensors and inputs of all layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

WIDTH, DEPTH, HEADS, PATCH, SIDE, LENGTH, CHANNELS = 128, 2, 2, 4, 4, 4, 6
N = SIDE * SIDE
State = dict[str, Tensor]


class Writer:
    """Adds random tensors to a state."""

    def __init__(self, seed: int):
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int, std: float = 0.05, mean: float = 0.0) -> None:
        self.state[name] = mean + std * torch.randn(*shape, generator=self.generator)

    def kernel(self, name: str, *shape: int) -> None:
        """Weight of a linear layer or a convolution."""
        self.add(f"{name}.weight", *shape, std=math.prod(shape[1:]) ** -0.5)

    def layer(self, name: str, *shape: int) -> None:
        """Weight and bias of a linear layer or a convolution."""
        self.kernel(name, *shape)
        self.add(f"{name}.bias", shape[0])

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width, std=0.2, mean=1.0)
        self.add(f"{name}.bias", width, std=0.1)


def images(batch: int = 2, side: int = SIDE * PATCH) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


class Case(NamedTuple):
    """A state, and what its network makes of inputs: of images and latents, or of (x_t, t, y)."""

    state: State
    encode: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    side: int = SIDE * PATCH
