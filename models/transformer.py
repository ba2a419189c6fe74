"""The transformer that encoders and decoders are made of, and its positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v for (B, heads, T, d) tensors.

    On the CPU in bfloat16 as two plain products, several times faster there than the fused kernel; elsewhere fused.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
    return functional.scaled_dot_product_attention(q, k, v)


def self_attention(x: Tensor, qkv: nn.Linear, proj: nn.Linear, heads: int) -> Tensor:
    """Multi-head self-attention of tokens x (B, T, D) by its two linear layers, D -> 3 D and D -> D."""
    q, k, v = qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    return proj(attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021): (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self_attention(self.norm1(x), self.qkv, self.proj, self.heads)
        return x + self.mlp(self.norm2(x))


class Blocks(nn.Sequential):
    """A stack of blocks and a final norm; weights Xavier-uniform, biases 0, so that the width sets the scale."""

    def __init__(self, size: Transformer):
        blocks = [Block(size.width, size.heads) for _ in range(size.depth)]
        super().__init__(*blocks, nn.LayerNorm(size.width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def sinusoids(values: Tensor, width: int) -> Tensor:
    """Sines and cosines (n, width) of values (n,) at falling frequencies (Vaswani et al. 2017)."""
    frequencies = 10_000 ** (-torch.arange(width // 2, device=values.device) / (width // 2))
    angles = values[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def positions_1d(length: int, width: int) -> Tensor:
    """Sine and cosine positions (1, length, width) of a sequence."""
    return sinusoids(torch.arange(length), width)[None]


def positions_2d(side: int, width: int) -> Tensor:
    """Sine and cosine positions (1, side², width) of a grid in row order: half of the width for each axis."""
    line = positions_1d(side, width // 2)[0]
    rows, columns = line.repeat_interleave(side, 0), line.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)[None]
