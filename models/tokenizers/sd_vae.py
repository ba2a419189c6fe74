"""SD-VAE: the convolutional KL autoencoder of latent diffusion (Rombach et al. 2022)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.convolutional import Convolutional

PARTS = frozenset({"gaussian", "convolution"})
ATTENDS = (False, False)
latents = forms.on_coarse_grid
cost = functools.partial(costs.convolutional, attends=ATTENDS)


def network(tokenizer: Tokenizer, image_size: int) -> Convolutional:
    """A convolutional autoencoder; attention in the middles alone."""
    from models.autoencoders.convolutional import Convolutional

    return Convolutional(tokenizer, image_size, latents(tokenizer, image_size).channels, ATTENDS)
