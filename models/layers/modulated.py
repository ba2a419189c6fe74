"""A transformer whose norms are scaled and shifted at latent places (the MoVQ decoder of MAETok: Chen et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer
from models.layers.transformer import ALL, Block, initialise, self_attention


def plain_norm(width: int) -> nn.LayerNorm:
    """A layer norm without gain and bias."""
    return nn.LayerNorm(width, elementwise_affine=False)


class ModulatedBlock(Block):
    """A block for tokens x (B, T, D), the last L of which stand for latents z (B, L, Z), given as silu(z)."""

    def __init__(self, width: int, heads: int, channels: int):
        super().__init__(width, heads, plain_norm)
        self.modulation = nn.Linear(channels, 4 * width)

    def forward(self, x: Tensor, z: Tensor, angles: Tensor) -> Tensor:  # type: ignore[override]
        first, second = self.modulation(z).to(x.dtype).chunk(2, dim=-1)
        h = self_attention(modulated(self.norm1(x), first), self.qkv, self.proj, self.heads, angles)
        x = x + h.to(x.dtype)
        return x + self.mlp(modulated(self.norm2(x), second)).to(x.dtype)


class ModulatedBlocks(nn.Module):
    """Blocks for the tokens [x; z], the last L of which stand for latents (B, L, Z).

    At these places a norm y becomes y * scale + shift, both linear in silu(z). They start at 0, as released: a decoder
    sees the latents from its second step on.
    """

    def __init__(self, size: Transformer, channels: int):
        super().__init__()
        self.blocks = nn.ModuleList(ModulatedBlock(size.width, size.heads, channels) for _ in range(size.depth))
        self.norm = plain_norm(size.width)  # the released one modulates too, but only tokens that nothing reads
        initialise(self)
        for name, parameter in self.named_parameters():
            if "modulation" in name:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, z: Tensor, angles: Sequence[Tensor], read: slice = ALL) -> Tensor:
        """The image tokens in `read` of x (B, T, D), for latents z (B, L, Z) and `angles` (heads, T, d/2) of blocks."""
        z = functional.silu(z)
        for block, own in zip(self.blocks, angles, strict=True):
            x = block(x, z, own)
        h: Tensor = self.norm(x[:, read])
        return h


def modulated(y: Tensor, modulation: Tensor) -> Tensor:
    """y (B, T, D), with its last L tokens scaled and shifted by `modulation` (B, L, 2 D)."""
    shift, scale = modulation.chunk(2, dim=-1)
    places = modulation.shape[1]
    return torch.cat([y[:, :-places], y[:, -places:] * scale + shift], dim=1)
