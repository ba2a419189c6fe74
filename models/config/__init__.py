"""The configuration of a tokenizer: frozen, checked values. Importable without torch.

A *part* of the tokenizer can be switched off. All parts are always present with their values, so a variant only flips
switches. A part that is off influences nothing, not even the key of a run.
"""

from __future__ import annotations

import dataclasses

from pydantic.dataclasses import dataclass

from models.config.bottlenecks import Annealing, Codes, Gaussian, Lagging, LatentDropout, LatentNoise, SoftCodes
from models.config.masking import LatentMasking, Masking
from models.config.outside import Outside
from models.config.sizes import (
    SIZES,
    STRICT,
    Above,
    Convolution,
    Count,
    Multipliers,
    Positive,
    ProxyCodes,
    Share,
    Transformer,
    Weight,
)
from models.config.terms import HOG_NUMBERS, Adversarial, Alignment, Auxiliary, Foundation, Likelihood, Perceptual


@dataclass(frozen=True, config=STRICT)
class Tokenizer:
    """A tokenizer: encoder, bottleneck, decoder, and the parts that shape its training."""

    patch_size: Positive
    """P, the side of a patch in pixels."""
    tokens: Positive
    """L, the number of latent tokens. A tokenizer whose latents lie on a grid has L x Z numbers too."""
    channels: Positive
    """Z, the numbers of a latent token."""
    encoder: Transformer
    decoder: Transformer
    name: str | None = None
    """The file of the tokenizer in `models.tokenizers`; None is `vit_1d`, a ViT encoder over [x; z] and a ViT
    decoder."""
    outside: Outside = Outside()
    convolution: Convolution = Convolution()
    gaussian: Gaussian = Gaussian()
    annealing: Annealing = Annealing()
    lagging: Lagging = Lagging()
    soft_codes: SoftCodes = SoftCodes()
    codes: Codes = Codes()
    proxy_codes: ProxyCodes = ProxyCodes()
    masking: Masking = Masking()
    latent_masking: LatentMasking = LatentMasking()
    latent_noise: LatentNoise = LatentNoise()
    latent_dropout: LatentDropout = LatentDropout()
    alignment: Alignment = Alignment()
    auxiliary: Auxiliary = Auxiliary()
    foundation: Foundation = Foundation()
    likelihood: Likelihood = Likelihood()
    perceptual: Perceptual = Perceptual()
    adversarial: Adversarial = Adversarial()
    rotary: bool = False
    """Every attention also rotates image tokens by row and column."""
    dinov2_encoder: bool = False
    """The encoder starts from the weights of the DINOv2 of its size."""
    released_positions: bool = False
    """`maetok` also has learned positions, and `detok` turns the two members of a pair by two angles, as in the
    released weights of these two."""

    def __post_init__(self) -> None:
        for size in (self.encoder, self.decoder) if self.rotary else ():
            if size.width // size.heads % 4:  # an angle rotates two dimensions, and there are two axes
                raise ValueError(f"rotary: a head of {size.width} / {size.heads} dimensions is not a multiple of 4")
        if len(on := [n for n in ("gaussian", "soft_codes", "codes") if getattr(self, n).on]) > 1:
            raise ValueError(f"a tokenizer has one bottleneck, not {' and '.join(on)}")

    @property
    def numbers(self) -> int:
        """How many numbers the latents of an image have, L x Z."""
        return self.tokens * self.channels

    @property
    def replaces(self) -> bool:
        """Whether training replaces hidden image tokens by a learned one."""
        return self.masking.on and not self.masking.dropped

    def image_tokens(self, image_size: int) -> int:
        """N, the number of image tokens of a square image of `image_size` pixels. Raises ValueError for wrong sizes."""
        if image_size % self.patch_size:
            raise ValueError(f"image size {image_size} px is not a multiple of patch_size {self.patch_size} px")
        return int(image_size // self.patch_size) ** 2

    @property
    def without_heads(self) -> Tokenizer:
        """The same tokenizer without the terms that have heads of their own, for training that needs no teacher."""
        return dataclasses.replace(self, alignment=Alignment(), auxiliary=Auxiliary(), foundation=Foundation())

    @property
    def wants_teacher(self) -> bool:
        """Whether training needs the teacher's features: for a term, or for semantic masking."""
        terms = self.alignment.active or self.auxiliary.active or self.foundation.active
        return terms or (self.masking.on and self.masking.semantic_share > 0)


__all__ = [
    "HOG_NUMBERS",
    "SIZES",
    "STRICT",
    "Above",
    "Adversarial",
    "Alignment",
    "Annealing",
    "Auxiliary",
    "Codes",
    "Convolution",
    "Count",
    "Foundation",
    "Gaussian",
    "Lagging",
    "LatentDropout",
    "LatentMasking",
    "LatentNoise",
    "Likelihood",
    "Masking",
    "Multipliers",
    "Outside",
    "Perceptual",
    "Positive",
    "ProxyCodes",
    "Share",
    "SoftCodes",
    "Tokenizer",
    "Transformer",
    "Weight",
]
