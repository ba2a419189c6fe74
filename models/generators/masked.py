"""Masked: all codes at once, the surest kept, the others again (MaskGIT: Chang et al. 2022, as TiTok uses it)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.config import Transformer
from models.forms import Latents
from models.generators import rounds
from models.layers.code_transformer import CodeTransformer, chosen
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws

SMOOTHING = 0.1  # of labels
UNMASKED = 0.1  # weight of the codes that are not hidden
TEMPERATURE = 4.5  # of the noise on confidences, falling to 0
LEAST = 1e-20


class Network(CodeTransformer):
    """Hidden codes from the class and those that are shown; learned by cross-entropy with smoothed labels."""

    def __init__(self, size: Transformer, latents: Latents, classes: int, codes: int):
        super().__init__(size, latents, classes, codes, embedded=codes + 1)  # and the mask

    def forward(self, codes: Tensor, y: Tensor) -> Tensor:
        """Logits (B, L, n) of all codes, from codes (B, L), n where they are hidden, and classes y (B,)."""
        x = torch.cat([self.label(y)[:, None], self.embed(codes) + self.positions], dim=1)
        logits: Tensor = self.to_logits(self.blocks(x, read=slice(1, None)))
        return logits.float()

    def loss(self, x_0: Tensor, y: Tensor, draws: Draws) -> Loss:
        """The cross-entropy of latents x_0 (B, L, Z) of which a share arccos(u) 2 / pi is hidden, one at least."""
        codes = self.indices(x_0)
        share = draws.uniform("masked share", len(codes)).acos() * 2 / math.pi
        ranks = draws.uniform("masked places", *codes.shape).argsort(1).argsort(1)
        hidden = ranks < (share * self.length).ceil().clamp(min=1)[:, None]
        logits = self(torch.where(hidden, self.codes, codes), y)
        each = functional.cross_entropy(logits.mT, codes, reduction="none", label_smoothing=SMOOTHING)
        weights = torch.where(hidden, 1.0, UNMASKED)
        return Loss({"cross_entropy": (weights * each).sum() / weights.sum()})

    def draw(self, y: Tensor, draws: Draws, scale: float, steps: int) -> Tensor:
        """Latents (B, L, Z) of classes y (B,) in at most `steps` rounds, with guidance of the logits.

        After a share r of the rounds, floor(L cos(pi r / 2)) codes are hidden again: those of least probability, on
        whose logarithm noise of a falling temperature lies.
        """
        total = rounds("masked", self.length, steps)
        codes = torch.full((len(y), self.length), self.codes, device=y.device)
        for done in range(total):
            logits = self.guided(codes, y, scale)
            hidden, left = codes == self.codes, (done + 1) / total
            found = torch.where(hidden, chosen(logits, draws.uniform(f"codes {done}", *codes.shape)), codes)
            sure = logits.log_softmax(-1).gather(-1, found[..., None])[..., 0]
            gumbel = -(-draws.uniform(f"order {done}", *codes.shape).clamp(min=LEAST).log()).clamp(min=LEAST).log()
            sure = torch.where(hidden, sure + TEMPERATURE * (1 - left) * gumbel, torch.inf)
            again = math.floor(self.length * math.cos(math.pi / 2 * left)) if done + 1 < total else 0
            again = min(again, self.length - done - 1)  # a round shows one code at least
            codes = torch.where(sure.argsort(1).argsort(1) < again, self.codes, found)
        return self.looked_up(codes)
