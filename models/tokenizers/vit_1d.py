"""A ViT encoder over [x; z] and a ViT decoder: MacTok, its foils and all its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.vit_1d import ViT1D

PARTS = frozenset({"gaussian", "masking", "latent_masking", "auxiliary", "rotary", "dinov2_encoder"})
latents = forms.on_line
cost = costs.vit_1d


def network(tokenizer: Tokenizer, image_size: int) -> ViT1D:
    """Plain blocks, no class tokens, learned positions."""
    from models.autoencoders.vit_1d import ViT1D

    return ViT1D(tokenizer, image_size)
