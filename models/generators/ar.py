"""Autoregressive: code after code, each from all before it (as VQGAN and LlamaGen generate)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.config import Transformer
from models.forms import Latents
from models.layers.code_transformer import CodeTransformer, chosen
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws


class Network(CodeTransformer):
    """The next code from the class and the codes before it; learned by cross-entropy."""

    def __init__(self, size: Transformer, latents: Latents, classes: int, codes: int):
        super().__init__(size, latents, classes, codes, embedded=codes)

    def forward(self, codes: Tensor, y: Tensor) -> Tensor:
        """Logits (B, T + 1, n) of the first T + 1 codes, from the first T codes (B, T) and classes y (B,)."""
        tokens = self.embed(codes) + self.positions[:, : codes.shape[1]]
        x = torch.cat([self.label(y)[:, None], tokens], dim=1)
        logits: Tensor = self.to_logits(self.blocks(x, causal=True))
        return logits.float()

    def loss(self, x_0: Tensor, y: Tensor, draws: Draws) -> Loss:
        """The cross-entropy of the codes of latents x_0 (B, L, Z), mean over tokens, in nats."""
        codes = self.indices(x_0)
        return Loss({"cross_entropy": functional.cross_entropy(self(codes[:, :-1], y).flatten(0, 1), codes.flatten())})

    def draw(self, y: Tensor, draws: Draws, scale: float, steps: int) -> Tensor:
        """Latents (B, L, Z) of classes y (B,), with guidance of the logits."""
        codes = y.new_zeros(len(y), 0)
        for place in range(self.length):
            logits = self.guided(codes, y, scale)[:, -1]
            u = draws.uniform(f"code {place}", len(y))
            codes = torch.cat([codes, chosen(logits, u)[:, None]], dim=1)
        return self.looked_up(codes)
