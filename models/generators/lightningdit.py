"""LightningDiT: a SiT with rotary positions, RMS norms and gated MLPs (Yao et al. 2025)."""

from __future__ import annotations

from models.config import Transformer
from models.forms import Latents
from models.layers.adaptive_transformer import AdaptiveBlock, AdaptiveTransformer
from models.layers.transformer import RMSNorm, SwiGLU, angles_1d, angles_2d


class Network(AdaptiveTransformer):
    """Velocity of latents (B, L, Z); S, B, L and XL have 33, 130, 458 and 675 million parameters.

    Rotary positions are used in addition to SiT's fixed positions, as in the published code. Both are 1D for
    tokens in a line, which have an order but no grid. `qk_norm`: queries and keys are RMS-normalised in every head
    (Henry et al. 2020).
    """

    def __init__(self, size: Transformer, latents: Latents, classes: int, qk_norm: bool = False):
        head = size.width // size.heads
        angles = angles_1d(latents.tokens, head) if latents.side is None else angles_2d(latents.side, head)

        def block() -> AdaptiveBlock:
            return AdaptiveBlock(size, RMSNorm, SwiGLU, RMSNorm if qk_norm else None, angles)

        super().__init__(size, latents, classes, block, RMSNorm)
