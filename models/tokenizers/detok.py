"""l-DeTok: latents on the grid of image tokens, with dropped tokens and noise in training (Yang et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.vit_grid import ViTGrid

PARTS = frozenset({"gaussian", "masking", "foundation", "released_positions"})


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    """One latent for every image token. Raises ValueError if hidden tokens are replaced, or heads cannot rotate."""
    if tokenizer.masking.on and not tokenizer.masking.dropped:
        raise ValueError("detok drops hidden image tokens: masking.dropped has to be set")
    for size in (tokenizer.encoder, tokenizer.decoder):
        if size.width // size.heads % 4:
            raise ValueError(f"detok: a head of {size.width} / {size.heads} dimensions is not a multiple of 4")
    tokenizer.image_tokens(image_size)
    return forms.on_grid(tokenizer, image_size // tokenizer.patch_size)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    """The cost of `network`, with no token dropped."""
    form, pixels = latents(tokenizer, image_size), 3 * tokenizer.patch_size**2
    n, e, d = form.tokens, tokenizer.encoder, tokenizer.decoder
    encoder = costs.linear(n, pixels, e.width) + costs.blocks(e, n, gated=True)
    encoder += costs.learned(n + 1, e.width) + costs.bottleneck(tokenizer, form, e.width)
    decoder = costs.linear(n, form.channels, d.width) + costs.blocks(d, n, gated=True)
    decoder += costs.learned(n + 1 + tokenizer.masking.on, d.width) + costs.linear(n, d.width, pixels)
    return costs.Halves(encoder, decoder + costs.smoothing(image_size))


def network(tokenizer: Tokenizer, image_size: int) -> ViTGrid:
    """RMS norms, SwiGLU, learned and rotary positions, a convolution after the decoder's patches."""
    from models.autoencoders.vit_grid import ViTGrid

    return ViTGrid(tokenizer, image_size, latents(tokenizer, image_size).channels)
