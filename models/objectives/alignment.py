"""Alignment of the latents with a frozen teacher (MacTok Sec. 3.3, Eq. 3-6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Alignment


class Features(NamedTuple):
    """The features of a teacher: class token c (B, D_c), patch tokens p (B, N, D_p), semantic score s (B, N)."""

    c: Tensor
    p: Tensor
    s: Tensor


def head(channels: int, hidden: int, out: int) -> nn.Sequential:
    """The projection of latents to the teacher's width: three linear layers with SiLU between them."""
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


class AlignmentLoss(nn.Module):
    """L_RA, in [-1, 1]: minus the mean cosine over the N local terms and the global term, as far as they are on."""

    def __init__(self, alignment: Alignment, channels: int, patch_width: int, class_width: int):
        super().__init__()
        self.interleaved = alignment.interleaved
        if alignment.local_term:
            self.local_head = head(channels, alignment.hidden, patch_width)
        if alignment.global_term:
            self.global_head = head(channels, alignment.hidden, class_width)

    def forward(self, z: Tensor, teacher: Features) -> Tensor:
        """L_RA of latents z (B, L, Z), mean over the batch."""
        cosines = []
        if hasattr(self, "local_head"):
            # The head acts on single tokens, so it can come before the repetition: same result, N / L times cheaper.
            projected, times = self.local_head(z).float(), teacher.p.shape[1] // z.shape[1]
            projected = projected.repeat(1, times, 1) if self.interleaved else projected.repeat_interleave(times, dim=1)
            cosines.append(functional.cosine_similarity(projected, teacher.p, dim=-1))
        if hasattr(self, "global_head"):
            projected = self.global_head(z.mean(1)).float()
            cosines.append(functional.cosine_similarity(projected, teacher.c, dim=-1)[:, None])
        return -torch.cat(cosines, dim=1).mean()
