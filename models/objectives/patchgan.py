"""PatchGAN (Isola et al. 2017): a discriminator of patches all of whose layers learn, as the peers of VQGAN use it."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn

from models.config.terms import PATCHGAN_KERNEL, PATCHGAN_LAYERS


class PatchHead(nn.Module):
    """Images (B, 3, H, H), H >= 32, -> logits (B, T) of overlapping patches of 70 px.

    Published ones have batch norms. These are group norms, so that each image is judged separately.
    """

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        for number, (width, stride) in enumerate(PATCHGAN_LAYERS):
            layers.append(nn.Conv2d(channels, width, PATCHGAN_KERNEL, stride, padding=1))
            if width > 1:
                layers += [nn.GroupNorm(math.gcd(32, width), width)] if number else []
                layers.append(nn.LeakyReLU(0.2))
            channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        # On the CPU, gradients of convolutions are slower in bfloat16.
        with torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else contextlib.nullcontext():
            logits: Tensor = self.layers(x.float())
        return logits.flatten(1)


class Pixels:
    """Reads the pixels themselves, where no network is frozen."""

    widths: tuple[int, ...] = (3,)
    head = PatchHead

    def __call__(self, x: Tensor) -> list[Tensor]:
        return [x]
