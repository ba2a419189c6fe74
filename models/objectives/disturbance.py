"""What disturbs latents in training, between encoder and decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from models.config import LatentDropout, LatentNoise, Tokenizer
from models.objectives.masking import Draws


def disturbed(tokenizer: Tokenizer, z: Tensor, draws: Draws) -> Tensor:
    """Latents z (B, L, Z) after noise and dropout, as far as they are on."""
    if tokenizer.latent_noise.on:
        z = noised(tokenizer.latent_noise, z, draws)
    return dropped(tokenizer.latent_dropout, z, draws) if tokenizer.latent_dropout.on else z


def noised(noise: LatentNoise, z: Tensor, draws: Draws) -> Tensor:
    """(1 - u) z + u s e, with u ~ U[0, 1) of every image; or z + u s e."""
    u = draws.uniform("latent noise share", len(z)).view(-1, *[1] * (z.ndim - 1))
    added = u * noise.scale * draws.normal("latent noise", *z.shape)
    return z + added if noise.additive else (1 - u) * z + added


def dropped(dropout: LatentDropout, z: Tensor, draws: Draws) -> Tensor:
    """z with some numbers 0 and the others larger, so that the mean is the same."""
    kept = draws.uniform("latent dropout", *z.shape) >= dropout.rate
    return torch.where(kept, z / (1 - dropout.rate), 0)
