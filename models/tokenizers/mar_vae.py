"""MAR-VAE: the convolutional KL autoencoder of MAR (Li et al. 2024)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from models import costs, forms
from models.config import Tokenizer

if TYPE_CHECKING:
    from models.autoencoders.convolutional import Convolutional

PARTS = frozenset({"gaussian", "convolution"})
ATTENDS = (True, False)
latents = forms.on_coarse_grid
cost = functools.partial(costs.convolutional, attends=ATTENDS)


def network(tokenizer: Tokenizer, image_size: int) -> Convolutional:
    """A convolutional autoencoder; the coarsest level of the encoder attends."""
    from models.autoencoders.convolutional import Convolutional

    return Convolutional(tokenizer, image_size, latents(tokenizer, image_size).channels, ATTENDS)
