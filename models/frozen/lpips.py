"""LPIPS (Zhang et al. 2018) as a term of the objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Lpips(nn.Module):
    """The distance of the package `lpips` on its network `net`, frozen and without the dropout of its heads."""

    def __init__(self, net: Any, batch_share: float = 1.0):
        super().__init__()
        self.net, self.batch_share = net.eval().requires_grad_(False), batch_share

    def train(self, mode: bool = True) -> Lpips:
        """Always stays in evaluation mode, also as part of another module."""
        return super().train(False)

    def forward(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """The distance of images (B, 3, H, W) in [-1, 1], mean over `batch_share` of the batch."""
        part = max(1, round(self.batch_share * len(x)))
        with torch.no_grad():
            target = self._features(x[:part])
        features = self._features(reconstruction[:part])
        # The weights of the heads are applied directly, without their dropout, and summed over channels in float32.
        heads = [head.model[-1].weight for head in self.net.lins]
        terms = zip(heads, features, target, strict=True)
        return torch.stack([(head * (a - b).square()).sum(1).mean() for head, a, b in terms]).sum()

    def _features(self, x: Tensor) -> list[Tensor]:
        """The features of five layers, each (B, C_i, H_i, W_i), with norm 1 over the channels."""
        layers = self.net.net(self.net.scaling_layer(x))
        return [functional.normalize(h.float(), dim=1, eps=1e-10) for h in layers]
