"""A tokenizer of somebody else's: an object that encodes and decodes (`--tokenizer FILE.py:NAME`)."""

from __future__ import annotations

from typing import NoReturn

from models import costs, forms
from models.config import Tokenizer

PARTS = frozenset({"outside"})


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    """The form that was seen when the tokenizer was named."""
    if not tokenizer.outside.on:
        raise ValueError("a tokenizer from outside is named by --tokenizer")
    return forms.Latents(tokenizer.tokens, tokenizer.channels, tokenizer.outside.side)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    """Its weights as it tells them; its FLOPs are unknown and count as none."""
    return costs.Halves(costs.Cost(tokenizer.outside.weights), costs.Cost())


def network(tokenizer: Tokenizer, image_size: int) -> NoReturn:
    """It is loaded from its file (`harness.networks.outside`), not made."""
    raise ValueError("a tokenizer from outside is loaded, not made")
