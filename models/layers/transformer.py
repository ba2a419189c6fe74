"""The transformer of encoders and decoders, and its positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer

ALL = slice(None)  # tokens
Layer = Callable[[int], nn.Module]  # makes a layer of a given width
SHORT = 32  # tokens in a row of scores; on the CPU, the softmax of shorter rows is faster in float32


class RMSNorm(nn.Module):
    """x / sqrt(mean x² + 1e-6) times a learned gain, over the last axis, in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), self.gain.shape, self.gain, eps=1e-6).to(x.dtype)


class SwiGLU(nn.Module):
    """W₃ (silu(W₁ x) * W₂ x) with biases (Shazeer 2020). Its hidden width is 2/3 of 4 D: the cost of a usual MLP."""

    def __init__(self, width: int):
        super().__init__()
        hidden = 8 * width // 3
        self.up = nn.Linear(width, 2 * hidden)  # W₁ stacked on W₂
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * value)


def mlp(width: int) -> nn.Sequential:
    """Two linear layers with a GELU between them, D -> 4 D -> D."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def attention(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None, causal: bool = False) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v for (B, heads, T, d) tensors; q may have other tokens than k and v.

    No query sees the keys where `hidden` (B, T) is True; if `causal`, none sees later ones.
    On the CPU in bfloat16, the gradient of the fused kernel is several times slower than that of two plain products.
    """
    if not (q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()):
        visible = None if hidden is None else ~hidden[:, None, None]
        return functional.scaled_dot_product_attention(q, k, v, visible, is_causal=causal)
    q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
    scores = q @ k.mT
    if hidden is not None:
        scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if k.shape[-2] <= SHORT:
        return scores.float().softmax(-1).to(v.dtype) @ v
    return scores.softmax(-1) @ v


def self_attention(
    x: Tensor,
    qkv: nn.Linear,
    proj: nn.Linear,
    heads: int,
    angles: Tensor | None = None,
    norms: Iterable[nn.Module] | None = None,
    read: slice = ALL,
    hidden: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """Multi-head self-attention of tokens x (B, T, D) with two linear layers, D -> 3 D and D -> D.

    In every head, the two `norms` normalise queries and keys; then the `angles` of the tokens, (T, d/2), (T, d) or
    (heads, T, d/2), turn them. The result has the tokens in `read`, which attend to all that are not `hidden` (B, T).
    """
    width = x.shape[-1]
    if read == ALL:
        q, k, v = qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    else:
        of_q, of_kv = (
            functional.linear(part, qkv.weight[rows], qkv.bias[rows])
            for part, rows in ((x[:, read], slice(width)), (x, slice(width, None)))
        )
        q = of_q.unflatten(-1, (heads, -1)).transpose(1, 2)
        k, v = of_kv.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    if norms is not None:
        q, k = (norm(x) for norm, x in zip(norms, (q, k), strict=True))
    if angles is not None:
        q, k = rotated(q, angles[..., read, :]), rotated(k, angles)
    return proj(attention(q, k, v, hidden, causal).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021): (B, T, D) -> the tokens in `read`, all by default."""

    def __init__(self, width: int, heads: int, norm: Layer = nn.LayerNorm, mlp: Layer = mlp):
        super().__init__()
        self.heads = heads
        self.norm1 = norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = norm(width)
        self.mlp = mlp(width)

    def forward(
        self,
        x: Tensor,
        angles: Tensor | None = None,
        read: slice = ALL,
        hidden: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        # Sums of one dtype: on the CPU, adding bfloat16 to float32 takes longer than converting it first.
        h = self_attention(self.norm1(x), self.qkv, self.proj, self.heads, angles, None, read, hidden, causal)
        x = x[:, read] + h.to(x.dtype)
        return x + self.mlp(self.norm2(x)).to(x.dtype)


class Blocks(nn.Sequential):
    """A stack of blocks and a final norm. Weights are Xavier-uniform, so the width sets their scale; biases are 0.

    Every block rotates its queries and keys by the same `angles` (T, d/2), or by its own, if given. The result has the
    tokens in `read` only, and the last block computes no others. No token sees those that are `hidden` (B, T), or,
    if `causal`, those after it.
    """

    def __init__(self, size: Transformer, norm: Layer = nn.LayerNorm, mlp: Layer = mlp):
        super().__init__(*(Block(size.width, size.heads, norm, mlp) for _ in range(size.depth)), norm(size.width))
        initialise(self)

    def forward(
        self,
        x: Tensor,
        angles: Tensor | Sequence[Tensor] | None = None,
        read: slice = ALL,
        hidden: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        *blocks, norm = self
        each = [angles] * len(blocks) if angles is None or isinstance(angles, Tensor) else angles
        for block, own in zip(blocks[:-1], each, strict=False):
            x = block(x, own, ALL, hidden, causal)
        return norm(blocks[-1](x, each[-1], read, hidden, causal))


class NormedBlocks(nn.Module):
    """Blocks with one more norm before the first."""

    def __init__(self, size: Transformer, norm: Layer = nn.LayerNorm, mlp: Layer = mlp):
        super().__init__()
        self.norm = norm(size.width)
        self.blocks = Blocks(size, norm, mlp)

    def forward(
        self, x: Tensor, angles: Tensor | None = None, read: slice = ALL, hidden: Tensor | None = None
    ) -> Tensor:
        h: Tensor = self.blocks(self.norm(x), angles, read, hidden)
        return h


def initialise(module: nn.Module) -> None:
    """Weights of linear layers Xavier-uniform, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def sinusoids(values: Tensor, width: int) -> Tensor:
    """Sines and cosines (n, width) of values (n,) at falling frequencies (Vaswani et al. 2017)."""
    angles = phases(values, width // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def phases(values: Tensor, count: int) -> Tensor:
    """Values (n,) times `count` frequencies that fall from 1 to almost 1/10,000: (n, count)."""
    return values[:, None] * 10_000 ** (-torch.arange(count, device=values.device) / count)


def positions_1d(length: int, width: int) -> Tensor:
    """Sine and cosine positions (1, length, width) of a sequence."""
    return sinusoids(torch.arange(length), width)[None]


def positions_2d(side: int, width: int) -> Tensor:
    """Sine and cosine positions (1, side², width) of a grid in row order: half of the width per axis."""
    return on_grid(positions_1d(side, width // 2)[0])[None]


def on_grid(line: Tensor) -> Tensor:
    """Values `line` (side, w) of the positions on an axis -> (side², 2 w) of all grid positions in row order."""
    side = len(line)
    return torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], dim=1)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Queries or keys x (B, heads, T, d), each pair (x_2i, x_2i+1) of a token rotated by its angle i (Su et al. 2021).

    `angles` are (T, d/2), in radians. The product of a query and a key then depends on the difference of their angles.
    Angles (T, d) turn the two members of a pair by two angles, which is no rotation (`uneven_angles_2d`).
    """
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = (part.unflatten(-1, (a.shape[-1], -1)) for part in (angles.cos(), angles.sin()))  # one or two of a pair
    turned = [a * cos[..., 0] - b * sin[..., 0], a * sin[..., -1] + b * cos[..., -1]]
    return torch.stack(turned, dim=-1).flatten(-2).to(x.dtype)


def angles_1d(length: int, head_width: int) -> Tensor:
    """Angles (length, d/2) of a sequence, for heads of an even width d."""
    return phases(torch.arange(length), head_width // 2)


def angles_2d(side: int, head_width: int) -> Tensor:
    """Angles (side², d/2) of a grid in row order, for d a multiple of 4: half of a head by rows, half by columns."""
    return on_grid(angles_1d(side, head_width // 2))


def uneven_angles_2d(side: int, head_width: int) -> Tensor:
    """Angles (side², d) of a grid in row order, as in the released code of l-DeTok: coordinates from 0 to 1.

    A half of a head has its d/4 frequencies, which fall from 7 to 7e-4 turns, twice in a row. As neighbours make a
    pair, its members turn by two angles: norms and products depend on places, not on their differences alone.
    """
    frequencies = 2 * math.pi * 7 * 1e4 ** torch.linspace(0, -1, head_width // 4)
    return on_grid(torch.linspace(0, 1, side)[:, None] * frequencies.repeat(2))
