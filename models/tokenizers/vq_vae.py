"""VQ-VAE and VQGAN: a convolutional autoencoder of codes (van den Oord et al. 2017; Esser et al. 2021)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.convolutional import Convolutional

PARTS = frozenset({"codes", "convolution"})
ATTENDS = (True, True)
latents = forms.on_coarse_grid
cost = functools.partial(costs.convolutional, attends=ATTENDS)


def network(tokenizer: Tokenizer, image_size: int) -> Convolutional:
    """A convolutional autoencoder; the coarsest levels of both halves attend."""
    from models.autoencoders.convolutional import Convolutional

    return Convolutional(tokenizer, image_size, latents(tokenizer, image_size).channels, ATTENDS)
