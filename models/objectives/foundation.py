"""The vision-foundation loss of VA-VAE (Yao et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Foundation
from models.layers.precision import float32
from models.objectives.alignment import Features

LARGEST, SMALLEST = 1e8, 1e-4  # the ratio of gradients at most, and what is added below its line


class FoundationLoss(nn.Module):
    """Latents on the teacher's grid, projected to its width: their cosines with the teacher, and among each other."""

    def __init__(self, foundation: Foundation, channels: int, patch_width: int):
        super().__init__()
        self.config = foundation
        self.project = nn.Linear(channels, patch_width, bias=False)

    def forward(self, z: Tensor, teacher: Features) -> Tensor:
        """Both hinges for latents z (B, N, Z), means over pairs and over places."""
        c = self.config
        own, theirs = (functional.normalize(x.float(), dim=-1) for x in (self.project(z), teacher.p))
        with float32(own):  # against margins
            apart = (own @ own.mT - theirs @ theirs.mT).abs()
        cosine = (own * theirs).sum(-1)
        return (apart - c.distance_margin).relu().mean() + (1 - c.cosine_margin - cosine).relu().mean()


def gradient_ratio(image_terms: Iterable[Tensor], term: Tensor, layer: Tensor) -> Tensor:
    """How many times larger the gradient of the image terms at `layer` is than that of `term`; a constant."""
    of_images = torch.stack(list(image_terms)).sum()
    norms = [torch.autograd.grad(value, layer, retain_graph=True)[0].norm() for value in (of_images, term)]
    return (norms[0] / (norms[1] + SMALLEST)).clamp(max=LARGEST).detach()
