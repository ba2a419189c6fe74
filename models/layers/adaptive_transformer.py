"""The transformer of the generators: a condition shifts, scales and gates its blocks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer
from models.forms import Latents
from models.generators import FREQUENCIES
from models.layers.transformer import Layer, positions_1d, positions_2d, self_attention, sinusoids


class AdaptiveBlock(nn.Module):
    """Transformer block whose norms and residuals are shifted, scaled and gated by the condition (B, D).

    `norm` and `mlp` make its layers, `qk_norm` the norms of queries and keys in every head. `angles` (L, d/2) then
    rotate queries and keys.
    """

    angles: Tensor | None

    def __init__(
        self, size: Transformer, norm: Layer, mlp: Layer, qk_norm: Layer | None = None, angles: Tensor | None = None
    ):
        super().__init__()
        width, head_width = size.width, size.width // size.heads
        self.heads = size.heads
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.qk_norms = nn.ModuleList(qk_norm(head_width) for _ in range(2)) if qk_norm else None
        self.mlp = mlp(width)
        self.modulation = nn.Linear(width, 6 * width)
        self.register_buffer("angles", angles, persistent=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        # One dtype for all that is not a product: on the CPU, mixed ones take twice as long.
        modulation = self.modulation(condition).to(x.dtype)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        h = self.norm1(x) * (1 + scale1) + shift1
        h = self_attention(h, self.qkv, self.proj, self.heads, self.angles, self.qk_norms)
        x = x + gate1 * h.to(x.dtype)
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.mlp(h).to(x.dtype)


def positions_of(latents: Latents, width: int) -> Tensor:
    """Fixed positions (1, L, D): of a line or of a grid."""
    return positions_1d(latents.tokens, width) if latents.side is None else positions_2d(latents.side, width)


class AdaptiveTransformer(nn.Module):
    """Velocity of latents (B, L, Z): patch size 1, fixed positions of a line or a grid.

    Time and class embeddings sum to the condition. `block()` makes a block. The linear layers that modulate start at
    zero (adaLN-Zero: Peebles & Xie 2023).
    """

    def __init__(
        self,
        size: Transformer,
        latents: Latents,
        classes: int,
        block: Callable[[], AdaptiveBlock],
        norm: Layer,
    ):
        super().__init__()
        width = size.width
        self.register_buffer("positions", positions_of(latents, width), persistent=False)
        self.embed = nn.Linear(latents.channels, width)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(block() for _ in range(size.depth))
        self.norm = norm(width)
        self.modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, latents.channels)
        self._initialise()

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        velocity, _ = self.read(x_t, t, y, 0)
        return velocity

    def read(self, x_t: Tensor, t: Tensor, y: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Velocity (B, L, Z), and the hidden tokens (B, L, D) after block `depth`; 0 means before the first block."""
        condition = functional.silu(self.time(sinusoids(t, FREQUENCIES)) + self.label(y))
        h = hidden = self.embed(x_t).to(self.positions.dtype) + self.positions
        for number, block in enumerate(self.blocks, start=1):
            h = block(h, condition)
            if number == depth:
                hidden = h
        shift, scale = self.modulation(condition).to(h.dtype)[:, None].chunk(2, dim=-1)
        return self.to_velocity(self.norm(h) * (1 + scale) + shift).float(), hidden

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if name.startswith("time"):
                    nn.init.normal_(module.weight, std=0.02)
                elif name.endswith(("modulation", "to_velocity")):
                    nn.init.zeros_(module.weight)  # every block starts as the identity, and the velocity as zero
                else:
                    nn.init.xavier_uniform_(module.weight)
        nn.init.normal_(self.label.weight, std=0.02)
