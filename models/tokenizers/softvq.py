"""SoftVQ-VAE: latent tokens that are means of codes, or Gaussian, or free (Chen et al. 2025)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.vit_1d import ViT1D

PARTS = frozenset({"soft_codes", "gaussian", "masking", "rotary", "dinov2_encoder"})
CLASS_TOKENS = (True, True)
latents = forms.on_line
cost = functools.partial(costs.vit_1d, class_tokens=CLASS_TOKENS)


def network(tokenizer: Tokenizer, image_size: int) -> ViT1D:
    """Both halves have a class token more."""
    from models.autoencoders.vit_1d import ViT1D

    return ViT1D(tokenizer, image_size, class_tokens=CLASS_TOKENS)
