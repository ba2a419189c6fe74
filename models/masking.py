"""Image masking and latent masking (MacTok Sec. 3.2)."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from models.config import LatentMasking, Masking

LOWER = -0.1  # m ~ U[LOWER, M]: below 0, with probability 0.1 / (M + 0.1), nothing is masked


class Draws(Protocol):
    """Named random draws of one step: equal names give equal numbers.

    Shapes begin with the number of images; () draws one number for all images of the step.
    """

    def uniform(self, name: str, *shape: int) -> Tensor: ...

    def normal(self, name: str, *shape: int) -> Tensor: ...


def mask_ratio(u: Tensor, max_ratio: float) -> Tensor:
    """m in [0, M] from u ~ U[0, 1): m ~ U[-0.1, M], clipped below at 0."""
    return (LOWER + u * (max_ratio - LOWER)).clamp(min=0)


def hide_highest(priority: Tensor, ratio: Tensor) -> Tensor:
    """Mask (B, T), True on the floor(m T) tokens of highest `priority` (B, T), for ratios m (B,)."""
    ranks = priority.argsort(dim=1, stable=True, descending=True).argsort(dim=1)
    # In float32, m T can be just below the exact whole number: 0.7 * 10.
    count = ((ratio.double() + 1e-7) * priority.shape[1]).floor()
    return ranks < count[:, None]


def cosine_score(c: Tensor, p: Tensor) -> Tensor:
    """s_i = cos(c, p_i) (MacTok Eq. 2), (B, N): the score for ViT teachers, whose c and p_i share one space."""
    return functional.cosine_similarity(c[:, None], p, dim=-1)


def image_mask(masking: Masking, draws: Draws, batch: int, tokens: int, score: Tensor | None) -> Tensor:
    """Mask (B, N) of image tokens, True where hidden. `score` s (B, N) is needed if `semantic_share` > 0."""
    ratio = mask_ratio(_drawn(draws, "mask ratio", batch, masking.per), masking.max_ratio)
    priority = draws.uniform("mask places", batch, tokens)
    if masking.semantic_share > 0:
        assert score is not None, "semantic masking needs the teacher's scores"
        semantic = _drawn(draws, "mask kind", batch, masking.per) < masking.semantic_share
        priority = torch.where(semantic[:, None], score, priority)
    return hide_highest(priority, ratio)


def latent_mask(masking: LatentMasking, draws: Draws, batch: int, tokens: int) -> Tensor:
    """Mask (B, L) of latent tokens, True where hidden, at random positions."""
    ratio = mask_ratio(_drawn(draws, "latent mask ratio", batch, masking.per), masking.max_ratio)
    return hide_highest(draws.uniform("latent mask places", batch, tokens), ratio)


def _drawn(draws: Draws, name: str, batch: int, per: Literal["image", "batch"]) -> Tensor:
    return draws.uniform(name, batch) if per == "image" else draws.uniform(name).expand(batch)
