"""The terms of the objective beside reconstruction and KL."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Positive, Transformer, Weight


@dataclass(frozen=True, config=STRICT)
class Alignment:
    """Alignment of the latents with a frozen teacher (MacTok Sec. 3.3, Eq. 3-6).

    `local_term` aligns with every patch token p_i, `global_term` with the class token c. `hidden` is the hidden width
    of the two heads. `latents` sets whether the sample or the posterior mean is aligned; the paper does not specify it.
    `interleaved`: latent token j is compared with the patches j, j + L, j + 2 L, ..., not with N / L in a row.
    """

    local_term: bool = False
    global_term: bool = False
    weight: Weight = 0.1
    hidden: Positive = 1024
    latents: Literal["sample", "mean"] = "sample"
    interleaved: bool = False

    @property
    def active(self) -> bool:
        return self.local_term or self.global_term


@dataclass(frozen=True, config=STRICT)
class Perceptual:
    """Distance of frozen features between image and reconstruction, with a linear warm-up of its weight.

    It is computed on the first `batch_share` of every batch. Batches have a random order, so the expected gradient is
    the same. `lpips`: LPIPS on VGG-16 (Zhang et al. 2018), otherwise features of EfficientNet-Lite1.
    """

    on: bool = False
    lpips: bool = False
    weight: Weight = 1.0
    batch_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Adversarial:
    """A discriminator that learns to distinguish reconstructions from images, and the term that rewards deceiving it.

    It reads frozen features of the network `features` at several depths. From `start_step` on the discriminator learns
    and its term counts. `weight` is multiplied by the adaptive weight (Esser et al. 2021) if `adaptive`. The peak of
    the discriminator's learning rate is `learning_rate`. `consistency` and `lecam` weigh the regularisers of the
    discriminator (Zhang et al. 2020; Tseng et al. 2021); `lecam_decay` is the decay of LeCAM's moving averages.

    The hinge loss, consistency and LeCAM stand 1 : 4 : 0.001, as the paper prints them. The released code of
    SoftVQ-VAE multiplies the first and the last by 0.2 and half the hinge again: there they stand 1 : 20 : 0.002.
    """

    on: bool = False
    features: Literal["dino_vits16", "efficientnet_lite0"] = "dino_vits16"
    weight: Weight = 0.2
    adaptive: bool = True
    start_step: Annotated[int, Field(ge=0)] = 20_000
    learning_rate: Weight = 1e-4
    consistency: Weight = 4.0
    lecam: Weight = 0.001
    lecam_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999

    @property
    def active(self) -> bool:
        return self.on


HOG_BINS, HOG_CELLS = 9, 2  # orientations of a histogram, and cells on a side of a patch
HOG_NUMBERS = 3 * HOG_BINS * HOG_CELLS**2  # of a patch


@dataclass(frozen=True, config=STRICT)
class Auxiliary:
    """Decoders that predict features of hidden patches, in training only (MAETok: Chen et al. 2025).

    One predicts histograms of oriented gradients, the other the teacher's patch tokens. `size` is that of each.
    """

    on: bool = False
    size: Transformer = Transformer(192, 3, 3)
    hog_weight: Weight = 1.0
    teacher_weight: Weight = 1.0

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Foundation:
    """The vision-foundation loss of VA-VAE (Yao et al. 2025), for latents on the grid of the teacher's patch tokens.

    Cosines between latents have to be within `distance_margin` of those between the teacher's tokens, and every
    projected latent has to have a cosine of 1 - `cosine_margin` with its token. `weight` is multiplied by the ratio of
    the gradients of the image terms and of this one at the last layer of the encoder.
    """

    on: bool = False
    weight: Weight = 0.1
    distance_margin: Weight = 0.25
    cosine_margin: Weight = 0.5

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

    @property
    def active(self) -> bool:
        return self.on
