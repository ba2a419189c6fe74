"""What the generators of codes share: a transformer over code tokens after a token of the class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer
from models.forms import Latents
from models.layers.adaptive_transformer import positions_of
from models.layers.precision import float32
from models.layers.transformer import Blocks


class CodeTransformer(nn.Module):
    """Logits of codes (B, T, n) from embedded tokens, after a token of the class.

    `book` (n, Z) are the codes as normalised latents: what is generated is looked up there, and what is learned from
    is the nearest of them. It is set by the training and kept with the weights.
    """

    book: Tensor
    positions: Tensor

    def __init__(self, size: Transformer, latents: Latents, classes: int, codes: int, embedded: int):
        super().__init__()
        self.classes, self.codes, self.length = classes, codes, latents.tokens
        self.register_buffer("book", torch.zeros(codes, latents.channels))
        self.register_buffer("positions", positions_of(latents, size.width), persistent=False)
        self.embed = nn.Embedding(embedded, size.width)
        self.label = nn.Embedding(classes + 1, size.width)
        self.blocks = Blocks(size)
        self.to_logits = nn.Linear(size.width, codes)
        for layer in (self.embed, self.label):
            nn.init.normal_(layer.weight, std=0.02)

    def indices(self, x_0: Tensor) -> Tensor:
        """The codes (B, L) that latents x_0 (B, L, Z) stand for: the nearest."""
        with float32(x_0):
            return (self.book.square().sum(-1) - 2 * x_0.float() @ self.book.mT).argmin(-1)

    def looked_up(self, indices: Tensor) -> Tensor:
        """The latents (B, L, Z) of codes (B, L)."""
        return functional.embedding(indices, self.book)

    def guided(self, codes: Tensor, y: Tensor, scale: float) -> Tensor:
        """Logits l_0 + w (l_y - l_0) for codes (B, T), of classes y (B,) and without a class; at w = 1 l_y alone."""
        if scale == 1:
            alone: Tensor = self(codes, y)
            return alone
        both = torch.cat([y, torch.full_like(y, self.classes)])
        with_class, without = self(codes.repeat(2, 1), both).chunk(2)
        guided: Tensor = without + scale * (with_class - without)
        return guided


def chosen(logits: Tensor, u: Tensor) -> Tensor:
    """One code for every row of logits (..., n), by its probability, from u ~ U[0, 1) (...)."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    return (cumulative < u[..., None] * cumulative[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
