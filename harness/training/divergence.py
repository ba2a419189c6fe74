"""Divergence, told at the step where it happened, although no step waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.planning.stage import Diverged


class Divergence:
    """Watches a quantity on `device` for the first step at which it is not finite; `check` alone waits for the device.

    The steps until the next check are made in vain, and nothing of them is kept.
    """

    def __init__(self, what: str, device: str):
        self.what, self.first = what, torch.full((), -1, device=device)

    def watch(self, step: int, value: Tensor) -> None:
        """Looks at the value () of a step."""
        self.first = torch.where((self.first < 0) & ~value.isfinite(), step, self.first)

    def check(self) -> None:
        """Raises `Diverged` if a value that was watched was not finite."""
        if (step := int(self.first)) >= 0:
            raise Diverged(f"{self.what} is not finite at step {step}")
