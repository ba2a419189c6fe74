"""LightningDiT: a SiT with rotary positions, RMS norms and gated MLPs (Yao et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.adaptive_transformer import AdaptiveBlock, AdaptiveTransformer
from models.config import Transformer
from models.transformer import angles_1d


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


class Network(AdaptiveTransformer):
    """Velocity of latents (B, L, Z); S, B, L and XL have 33, 130, 458 and 675 million parameters.

    Rotary positions are used in addition to SiT's fixed positions, as in the published code. Both are 1D, because the
    tokens have an order but no grid. `qk_norm`: queries and keys are RMS-normalised in every head (Henry et al. 2020).
    """

    def __init__(self, size: Transformer, tokens: int, channels: int, classes: int, qk_norm: bool = False):
        angles = angles_1d(tokens, size.width // size.heads)

        def block() -> AdaptiveBlock:
            return AdaptiveBlock(size, RMSNorm, SwiGLU, RMSNorm if qk_norm else None, angles)

        super().__init__(size, tokens, channels, classes, block, RMSNorm)
