"""The terms of the objective beside reconstruction and KL."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Positive, Transformer, Weight


@dataclass(frozen=True, config=STRICT)
class Alignment:
    """Alignment of the latents with a frozen teacher (MacTok Sec. 3.3, Eq. 3-6)."""

    local_term: bool = False
    """Latents are aligned with every patch token p_i."""
    global_term: bool = False
    """Latents are aligned with the class token c."""
    weight: Weight = 0.1
    """Weight of both terms."""
    hidden: Positive = 1024
    """The hidden width of the two heads."""
    latents: Literal["sample", "mean"] = "sample"
    """Whether the sample or the posterior mean is aligned; the paper does not specify it."""
    interleaved: bool = False
    """Latent token j is compared with the patches j, j + L, j + 2 L, ..., not with N / L in a row."""

    @property
    def active(self) -> bool:
        return self.local_term or self.global_term


@dataclass(frozen=True, config=STRICT)
class Perceptual:
    """Distance of frozen features between image and reconstruction, with a linear warm-up of its weight."""

    on: bool = False
    """The objective has the term."""
    lpips: bool = False
    """LPIPS on VGG-16 (Zhang et al. 2018), otherwise features of EfficientNet-Lite1."""
    weight: Weight = 1.0
    """Weight of the term after its warm-up."""
    batch_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The first part of every batch, on which it is computed. Batches have a random order, so the expected gradient is
    the same."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """The steps over which its weight rises."""

    @property
    def active(self) -> bool:
        return self.on


PATCHGAN_KERNEL = 4
PATCHGAN_LAYERS = ((64, 2), (128, 2), (256, 2), (512, 1), (1, 1))  # width and stride
PATCHGAN_PX = 32  # the least side of an image


@dataclass(frozen=True, config=STRICT)
class Adversarial:
    """A discriminator that learns to distinguish reconstructions from images, and the term that rewards deceiving it.

    The hinge loss, consistency and LeCAM stand 1 : 4 : 0.001, as the paper prints them. The released code of
    SoftVQ-VAE multiplies the first and the last by 0.2 and half the hinge again: there they stand 1 : 20 : 0.002.
    """

    on: bool = False
    """The objective has the term."""
    features: Literal["dino_vits16", "efficientnet_lite0", "patchgan"] = "dino_vits16"
    """The network whose frozen features, at several depths, the discriminator reads; `patchgan`: none, it reads pixels
    and learns all of its layers (Isola et al. 2017)."""
    weight: Weight = 0.2
    """Weight of the term; it is multiplied by the adaptive weight if `adaptive`."""
    adaptive: bool = True
    """The adaptive weight (Esser et al. 2021) is used. Every part of a batch has its own."""
    start_step: Annotated[int, Field(ge=0)] = 20_000
    """The step from which on the discriminator learns and its term counts."""
    learning_rate: Weight = 1e-4
    """The peak of the discriminator's learning rate."""
    consistency: Weight = 4.0
    """Weight of the discriminator's consistency (Zhang et al. 2020)."""
    lecam: Weight = 0.001
    """Weight of the discriminator's LeCAM regulariser (Tseng et al. 2021)."""
    lecam_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """The decay of LeCAM's moving averages."""

    @property
    def active(self) -> bool:
        return self.on


HOG_BINS, HOG_CELLS = 9, 2  # orientations of a histogram, and cells on a side of a patch
HOG_NUMBERS = 3 * HOG_BINS * HOG_CELLS**2  # of a patch


@dataclass(frozen=True, config=STRICT)
class Auxiliary:
    """Decoders that predict features of hidden patches, in training only (MAETok: Chen et al. 2025).

    Their losses are means over the hidden patches of a part of a batch: if every image has a ratio of its own, parts
    differ in how many they have.
    """

    on: bool = False
    """The objective has the terms."""
    size: Transformer = Transformer(192, 3, 3)
    """The size of each decoder."""
    hog_weight: Weight = 1.0
    """Weight of the decoder that predicts histograms of oriented gradients."""
    teacher_weight: Weight = 1.0
    """Weight of the decoder that predicts the teacher's patch tokens."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Foundation:
    """The vision-foundation loss of VA-VAE (Yao et al. 2025), for latents on the grid of the teacher's patch tokens."""

    on: bool = False
    """The objective has the term."""
    weight: Weight = 0.1
    """It is multiplied by the ratio of the gradients of the image terms, as they are weighted at the step, and of this
    one at the last layer of the encoder. Every part of a batch has its own ratio."""
    distance_margin: Weight = 0.25
    """Cosines between latents have to be within this distance of those between the teacher's tokens."""
    cosine_margin: Weight = 0.5
    """Every projected latent has to have a cosine of 1 minus this with its token."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Likelihood:
    """The image terms as a Laplace likelihood with a learned scale s: (|x - x'| + perceptual) / exp(s) + s (VQGAN).

    All are means over pixels, where the released code of VA-VAE sums them: a weight there is 3 H W times smaller in
    these means.
    """

    on: bool = False
    """The scale of the image terms is learned."""

    @property
    def active(self) -> bool:
        return self.on
