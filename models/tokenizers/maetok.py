"""MAETok: a masked autoencoder of latent tokens without noise, with mixed rotary positions (Chen et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.maetok import MaeTok

PARTS = frozenset({"masking", "auxiliary", "released_positions"})
CLASS_TOKENS = (True, False)


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    """L tokens in a line; raises ValueError for heads that two axes cannot rotate."""
    for size in (tokenizer.encoder, tokenizer.decoder):
        if size.width // size.heads % 4:
            raise ValueError(f"maetok: a head of {size.width} / {size.heads} dimensions is not a multiple of 4")
    return forms.on_line(tokenizer, image_size)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    """The cost of `network`. The decoder's last block computes all tokens, and no norm of it has parameters."""
    n, length, z = tokenizer.image_tokens(image_size), tokenizer.tokens, tokenizer.channels
    pixels, d = 3 * tokenizer.patch_size**2, tokenizer.decoder
    learned = tokenizer.released_positions
    encoder, _ = costs.vit_1d(tokenizer, image_size, CLASS_TOKENS, absolute=learned)
    encoder += costs.learned(tokenizer.encoder.depth, tokenizer.encoder.width)

    decoder = costs.linear(length, z, d.width) + costs.blocks(d, n + length, norm=0)
    decoder += costs.linear(length, z, 4 * d.width).times(d.depth)
    decoder += costs.linear(n, d.width, pixels) + costs.learned((n + length if learned else 1) + d.depth, d.width)
    return costs.Halves(encoder, decoder)


def network(tokenizer: Tokenizer, image_size: int) -> MaeTok:
    """An encoder with a class token, a decoder modulated by the latents."""
    from models.autoencoders.maetok import MaeTok

    return MaeTok(tokenizer, image_size)
