"""TiTok: latent tokens that are codes or Gaussian, in one stage (Yu et al. 2024; Kim et al. 2025)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.vit_1d import ViT1D

PARTS = frozenset({"codes", "gaussian"})
CLASS_TOKENS = (True, True)
latents = forms.on_line
cost = functools.partial(costs.vit_1d, class_tokens=CLASS_TOKENS, smooth=True, normed=True)


def network(tokenizer: Tokenizer, image_size: int) -> ViT1D:
    """A norm before the first block and a class token in both halves, a convolution after the last."""
    from models.autoencoders.vit_1d import ViT1D
    from models.layers.transformer import NormedBlocks

    return ViT1D(tokenizer, image_size, NormedBlocks, CLASS_TOKENS, smooth=True)
