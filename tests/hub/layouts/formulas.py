"""Formulas that the released networks have in common."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.hub.layouts.writer import State


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].flatten(1).mT + s[f"{name}.bias"]


def normed(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the last axis; gain and bias if there are any."""
    y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return y * s[f"{name}.weight"] + s[f"{name}.bias"] if f"{name}.weight" in s else y


def group_normed(s: State, name: str, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-6) of 32 groups of channels (B, C, h, w), with gain and bias."""
    groups = x.unflatten(1, (32, -1))
    mean, var = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), correction=0, keepdim=True)
    y = ((groups - mean) / (var + 1e-6).sqrt()).flatten(1, 2)
    return y * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]


def rms(gain: Tensor, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain


def attend(qkv: Tensor, heads: int, turn: Callable[[Tensor], Tensor] = lambda q: q) -> Tensor:
    """Attention of (B, T, 3 D), whose queries and keys (B, heads, T, d) are turned."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    scores = turn(q) @ turn(k).mT / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def pixels_last(x: Tensor, side: int) -> Tensor:
    """(B, N, P P C) -> images, with patches in the order (row, column, channel)."""
    patch = math.isqrt(x.shape[-1] // 3) if x.shape[-1] % 3 == 0 else 1
    return grid_of(x, side, patch)


def grid_of(x: Tensor, side: int, patch: int) -> Tensor:
    """(B, N, P P C) -> (B, C, side P, side P)."""
    rows = x.unflatten(-1, (patch, patch, -1)).unflatten(1, (side, side))
    return rows.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
