"""LPIPS (Zhang et al. 2018) as a term of an objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Lpips(nn.Module):
    """The distance of the package `lpips`, whose network `net` is, frozen: without the dropout of its heads."""

    def __init__(self, net: Any, batch_share: float = 1.0):
        super().__init__()
        self.net, self.batch_share = net.eval().requires_grad_(False), batch_share

    def train(self, mode: bool = True) -> Lpips:
        """Stays in evaluation mode whatever module it is part of."""
        return super().train(False)

    def forward(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """The distance of images (B, 3, H, W) in [-1, 1], mean over `batch_share` of the batch."""
        part = max(1, round(self.batch_share * len(x)))
        with torch.no_grad():
            target = self._features(x[:part])
        found = self._features(reconstruction[:part])
        # The heads by hand: they are weights of the channels behind a dropout. In float32, as their sums are of many.
        heads = [head.model[-1].weight for head in self.net.lins]
        terms = zip(heads, found, target, strict=True)
        return torch.stack([(head * (a - b).square()).sum(1).mean() for head, a, b in terms]).sum()

    def _features(self, x: Tensor) -> list[Tensor]:
        """The features of five layers, each (B, C_i, H_i, W_i), of norm 1 over their channels."""
        layers = self.net.net(self.net.scaling_layer(x))
        return [functional.normalize(h.float(), dim=1, eps=1e-10) for h in layers]
