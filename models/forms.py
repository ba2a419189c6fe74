"""The form of latents: tokens in a line, or a grid. No torch."""

from __future__ import annotations

from typing import NamedTuple

from models.config import Tokenizer


class Latents(NamedTuple):
    """The form of the latents of an image: tokens L, channels Z, and the side of their grid if they lie on one."""

    tokens: int
    channels: int
    side: int | None = None

    @property
    def numbers(self) -> int:
        """How many numbers they are, L x Z."""
        return self.tokens * self.channels

    def __str__(self) -> str:
        return f"{self.tokens if self.side is None else f'{self.side} x {self.side}'} x {self.channels}"


def on_line(tokenizer: Tokenizer, image_size: int) -> Latents:
    """Latents that are L tokens in a line. Raises ValueError if L does not divide the N image tokens."""
    n = tokenizer.image_tokens(image_size)
    if n % tokenizer.tokens:
        raise ValueError(f"tokens L = {tokenizer.tokens} does not divide the N = {n} image tokens")
    return Latents(tokenizer.tokens, tokenizer.channels)


def on_grid(tokenizer: Tokenizer, side: int) -> Latents:
    """Latents on a grid, as many numbers as L x Z. Raises ValueError if the grid cannot have as many."""
    channels, left = divmod(tokenizer.numbers, side * side)
    if left or not channels:
        raise ValueError(f"a grid of {side} x {side} cannot have L x Z = {tokenizer.numbers} numbers")
    return Latents(side * side, channels, side)


def on_coarse_grid(tokenizer: Tokenizer, image_size: int) -> Latents:
    """Latents on the grid of a convolution. Raises ValueError if the image cannot be halved as often."""
    if not tokenizer.convolution.on:
        raise ValueError(f"tokenizer {tokenizer.name} is a convolution: convolution.on has to be set")
    side, left = divmod(image_size, tokenizer.convolution.downsampling)
    if left:
        raise ValueError(f"image size {image_size} px is not a multiple of {tokenizer.convolution.downsampling} px")
    return on_grid(tokenizer, side)
