"""Sizes of networks, and the checked types of fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

Positive = Annotated[int, Field(ge=1, le=10**9)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Multipliers = Annotated[
    tuple[Positive, ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    Field(min_length=1),
]


@dataclass(frozen=True, config=STRICT)
class Transformer:
    """Size of a vision transformer."""

    width: Positive
    """The width D of a token."""
    depth: Positive
    """Blocks."""
    heads: Positive
    """Attention heads of a block, which divide the width."""

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:  # 4: sine and cosine of two image axes
            raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads} and of 4")

    def __str__(self) -> str:
        return f"{self.width} x {self.depth}"


SIZES = {  # of ViT (Dosovitskiy et al. 2021) and of DiT and similar models (Peebles & Xie 2023); only DiT has XL
    "S": Transformer(384, 12, 6),
    "B": Transformer(768, 12, 12),
    "L": Transformer(1024, 24, 16),
    "XL": Transformer(1152, 28, 16),
}


class Levels:
    """The levels of a convolutional network, each of which but the last halves the side of the image."""

    width: int
    multipliers: tuple[int, ...]
    groups: int

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of every level, from the finest to the coarsest."""
        return tuple(self.width * m for m in self.multipliers)

    @property
    def downsampling(self) -> int:
        """Pixels on a side of the image for one place on a side of the coarsest level."""
        return int(2 ** (len(self.multipliers) - 1))

    def require_groups(self, part: str) -> None:
        """Raises ValueError if the channels of a level cannot be normalised in groups."""
        for width in self.widths:
            if width % self.groups:
                raise ValueError(f"{part}: a level of {width} channels cannot be split into {self.groups} groups")


@dataclass(frozen=True, config=STRICT)
class Convolution(Levels):
    """Size of a convolutional autoencoder (Esser et al. 2021).

    Every level but the last halves the side of the image.
    """

    on: bool = False
    """Encoder and decoder are convolutional."""
    width: Positive = 128
    """Channels of a level whose multiplier is 1."""
    multipliers: Multipliers = (1, 1, 2, 2, 4)
    """Channels of every level from the finest to the coarsest, as multiples of `width`."""
    blocks: Positive = 2
    """Residual blocks of a level of the encoder; a level of the decoder has one more."""
    groups: Positive = 32
    """Groups of channels that are normalised together; a channel alone loses its mean, and so an image its colour."""

    def __post_init__(self) -> None:
        self.require_groups("convolution")

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class ProxyCodes(Levels):
    """A decoder that predicts codes of another tokenizer, whose decoder makes pixels of them (TiTok in two stages: Yu
    et al. 2024).

    Only released weights have it: no training here does. The sizes are those of the decoder of MaskGIT-VQGAN.
    """

    on: bool = False
    """The decoder predicts codes of another tokenizer."""
    codes: Annotated[int, Field(ge=2, le=65_536)] = 1024
    """The number of its codes."""
    channels: Positive = 256
    """The numbers of a code."""
    width: Positive = 128
    """Channels of a level of its decoder whose multiplier is 1."""
    multipliers: Multipliers = (1, 1, 2, 2, 4)
    """Channels of every level from the finest to the coarsest, as multiples of `width`."""
    blocks: Positive = 2
    """Residual blocks of a level, and before the first."""
    groups: Positive = 32
    """Groups of channels that are normalised together."""

    def __post_init__(self) -> None:
        self.require_groups("proxy_codes")

    @property
    def active(self) -> bool:
        return self.on
