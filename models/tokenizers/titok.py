"""TiTok: latent tokens that are codes or Gaussian, in one stage or in two (Yu et al. 2024; Kim et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.vit_1d import ViT1D

PARTS = frozenset({"codes", "gaussian", "proxy_codes"})
CLASS_TOKENS = (True, True)


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    """L tokens in a line. Raises ValueError if a proxy code does not make the pixels of a patch."""
    patch, proxy = tokenizer.patch_size, tokenizer.proxy_codes
    if proxy.on and proxy.downsampling != patch:
        raise ValueError(f"titok: a proxy code makes {proxy.downsampling} px on a side, and a patch has {patch} px")
    return forms.on_line(tokenizer, image_size)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    """The cost of `network`."""
    proxy, side = tokenizer.proxy_codes, image_size // tokenizer.patch_size
    to_pixels = costs.proxy_decoder(proxy, side, tokenizer.decoder.width) if proxy.on else None
    return costs.vit_1d(tokenizer, image_size, CLASS_TOKENS, smooth=to_pixels is None, normed=True, to_pixels=to_pixels)


def network(tokenizer: Tokenizer, image_size: int) -> ViT1D:
    """A norm before the first block and a class token in both halves; in one stage, a convolution after the last."""
    from models.autoencoders.proxy_codes import TwoStages
    from models.autoencoders.vit_1d import ViT1D
    from models.layers.transformer import NormedBlocks

    if tokenizer.proxy_codes.on:
        return TwoStages(tokenizer, image_size, CLASS_TOKENS)
    return ViT1D(tokenizer, image_size, NormedBlocks, CLASS_TOKENS, smooth=True)
