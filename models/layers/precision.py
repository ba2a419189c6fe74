"""Parts of networks that are computed in float32 even where the rest is in bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def float32(x: Tensor) -> AbstractContextManager[object]:
    """A context in which products of tensors on the device of x keep their type."""
    device = x.device.type if x.device.type != "meta" else "cpu"  # a meta tensor has no products
    return torch.autocast(device, enabled=False)
