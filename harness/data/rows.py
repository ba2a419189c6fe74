"""Rows of an array by index, from the memory of the device if the array fits there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.system.machine import on

SHARE = 4  # an array may take up to one part in so many of the memory that is free on the device


class Rows:
    """An array (n, ...) on disk or in memory, whose rows are taken with indices (B,) for its first axes.

    On a GPU it is copied there once if it fits, so that no step reads or sends rows. On the CPU, memory maps do this.
    """

    def __init__(self, array: Any, device: str):
        self.array, self.device, self.kept = array, device, None
        if device == "cuda" and array.nbytes * SHARE < torch.cuda.mem_get_info()[0]:
            self.kept = on(torch.from_numpy(np.asarray(array)), device)

    @property
    def home(self) -> str:
        """The device on which indices are used. Indices from there need not be sent."""
        return "cpu" if self.kept is None else self.device

    def __getitem__(self, index: tuple[Tensor, ...]) -> Tensor:
        """The rows (B, ...) at `index`, one tensor (B,) for each of the first axes, on the device."""
        if self.kept is None:
            where = tuple((part if part.device.type == "cpu" else part.cpu()).numpy() for part in index)
            return on(torch.from_numpy(np.asarray(self.array[where])), self.device)
        return self.kept[tuple(on(part, self.device) for part in index)]
