"""Images as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]."""
    return in_range(torch.from_numpy(np.array(images)))


def in_range(images: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], on the same device."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def channels_first(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> uint8 (B, 3, H, W), copied into memory."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()


def to_uint8(x: Tensor) -> Tensor:
    """Float (B, 3, H, W) -> uint8 (B, 3, H, W), clipped to [-1, 1] and rounded, never truncated."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def flipped(x: Tensor, flips: Tensor) -> Tensor:
    """Images (B, 3, H, W) mirrored left to right where `flips` (B,) is True."""
    return torch.where(flips[:, None, None, None], x.flip(-1), x)
