"""The memory layout of images inside convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor


def convolved(x: Tensor) -> Tensor:
    """`x` (B, C, h, w) in the layout in which its device is fast: channels last on a GPU, one after another on a CPU.

    Convolutions of a CPU choose a layout of their own; its group norms in bfloat16 take ten times as long with channels
    last.
    """
    return x.contiguous(memory_format=torch.channels_last if x.is_cuda else torch.contiguous_format)
