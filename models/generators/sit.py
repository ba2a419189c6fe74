"""SiT: a transformer with adaptive norms that start at zero (Ma et al. 2024; adaLN-Zero: Peebles & Xie 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from models.config import Transformer
from models.transformer import positions_1d, self_attention, sinusoids

FREQUENCIES = 256  # width of the sinusoids of t, which enters as it is, in [0, 1], as it was published


class Block(nn.Module):
    """Transformer block whose norms and residuals are shifted, scaled and gated by the condition (B, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self_attention(self.norm1(x) * (1 + scale1) + shift1, self.qkv, self.proj, self.heads)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class Network(nn.Module):
    """Velocity of latents (B, L, Z): patch 1, fixed 1D positions, condition the sum of time and class embeddings."""

    def __init__(self, size: Transformer, tokens: int, channels: int, classes: int):
        super().__init__()
        width = size.width
        self.register_buffer("positions", positions_1d(tokens, width), persistent=False)
        self.embed = nn.Linear(channels, width)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.depth))
        self.norm = _norm(width)
        self.modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, channels)
        self._initialise()

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        condition = nn.functional.silu(self.time(sinusoids(t, FREQUENCIES)) + self.label(y))
        h = self.embed(x_t) + self.positions
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return self.to_velocity(self.norm(h) * (1 + scale) + shift).float()

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


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
