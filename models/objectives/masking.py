"""Image masking and latent masking (MacTok Sec. 3.2)."""

from __future__ import annotations

import statistics
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


def drawn_ratio(masking: Masking, u: Tensor) -> Tensor:
    """m from u ~ U[0, 1) by the law of `masking`."""
    if masking.deviation is not None:
        return truncated_normal(u, masking.min_ratio or 0.0, masking.max_ratio, masking.deviation)
    if masking.min_ratio is not None:
        return masking.min_ratio + u * (masking.max_ratio - masking.min_ratio)
    return mask_ratio(u, masking.max_ratio)


def truncated_normal(u: Tensor, low: float, high: float, deviation: float) -> Tensor:
    """N(`high`, `deviation`²), cut to [`low`, `high`], from u ~ U[0, 1), by its quantiles."""
    least = statistics.NormalDist().cdf((low - high) / deviation)
    quantile = least + u.double() * (0.5 - least)
    return (high + deviation * torch.special.ndtri(quantile)).clamp(low, high).to(u.dtype)


def hide_highest(priority: Tensor, ratio: Tensor, round_up: bool = False) -> Tensor:
    """Mask (B, T), True on the floor(m T) tokens of highest `priority` (B, T), for ratios m (B,); or ceil(m T)."""
    ranks = priority.argsort(dim=1, stable=True, descending=True).argsort(dim=1)
    # In float32, m T can be just below the exact whole number, 0.7 * 10, or above.
    exact = ratio.double() * priority.shape[1]
    count = (exact - 1e-7 * priority.shape[1]).ceil() if round_up else (exact + 1e-7 * priority.shape[1]).floor()
    return ranks < count[:, None]


def cosine_score(c: Tensor, p: Tensor) -> Tensor:
    """s_i = cos(c, p_i) (MacTok Eq. 2), (B, N): the score for ViT teachers, whose c and p_i share one space."""
    return functional.cosine_similarity(c[:, None], p, dim=-1)


def image_mask(masking: Masking, draws: Draws, batch: int, tokens: int, score: Tensor | None) -> Tensor:
    """Mask (B, N) of image tokens, True where hidden. `score` s (B, N) is needed if `semantic_share` > 0."""
    ratio = drawn_ratio(masking, _drawn(draws, "mask ratio", batch, masking.per))
    priority = draws.uniform("mask places", batch, tokens)
    if masking.semantic_share > 0:
        assert score is not None, "semantic masking needs the teacher's scores"
        semantic = _drawn(draws, "mask kind", batch, masking.per) < masking.semantic_share
        priority = torch.where(semantic[:, None], score, priority)
    return hide_highest(priority, ratio, masking.round_up)


def latent_mask(masking: LatentMasking, draws: Draws, batch: int, tokens: int) -> Tensor:
    """Mask (B, L) of latent tokens, True where hidden, at random positions."""
    ratio = mask_ratio(_drawn(draws, "latent mask ratio", batch, masking.per), masking.max_ratio)
    return hide_highest(draws.uniform("latent mask places", batch, tokens), ratio)


def _drawn(draws: Draws, name: str, batch: int, per: Literal["image", "batch"]) -> Tensor:
    return draws.uniform(name, batch) if per == "image" else draws.uniform(name).expand(batch)
