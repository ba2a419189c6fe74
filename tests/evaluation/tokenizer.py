"""A tokenizer at smoke size that tests measure."""

from __future__ import annotations

import torch
from torch import nn

from models.tokenizer import Tokenizer
from tests.conftest import experiment


def made(variant: str) -> Tokenizer:
    """A tokenizer at smoke size whose latents vary with the image, and whose decoder listens to them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = Tokenizer(experiment(variant).tokenizer, 32).eval()
        for layer in (tokenizer.to_mean, tokenizer.from_latents, tokenizer.to_pixels):
            nn.init.normal_(layer.weight)
        return tokenizer
