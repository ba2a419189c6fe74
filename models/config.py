"""The configuration of a tokenizer: frozen, checked values. Importable without torch.

A *part* of the tokenizer can be switched off. All parts are always present with their values, so a variant only flips
switches. A part that is off influences nothing, not even the key of a run.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

Positive = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class Transformer:
    """Size of a vision transformer: width D, depth in blocks, attention heads."""

    width: Positive
    depth: Positive
    heads: Positive

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:  # 4: sine and cosine of two image axes
            raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads} and of 4")

    def __str__(self) -> str:
        return f"{self.width} x {self.depth}"

    @property
    def parameters(self) -> int:
        """Number of weights and biases in the blocks and the final norm."""
        return self.depth * (12 * self.width**2 + 13 * self.width) + 2 * self.width


SIZES = {  # of ViT (Dosovitskiy et al. 2021) and of DiT and similar models (Peebles & Xie 2023); only DiT has XL
    "S": Transformer(384, 12, 6),
    "B": Transformer(768, 12, 12),
    "L": Transformer(1024, 24, 16),
    "XL": Transformer(1152, 28, 16),
}


@dataclass(frozen=True, config=STRICT)
class Gaussian:
    """Gaussian bottleneck with a KL term (Kingma & Welling 2014); off: the bottleneck is deterministic.

    `kl_weight` multiplies the KL divergence to N(0, I) in nats, summed over the L x Z dimensions, mean over the batch.
    The reconstruction error, which has weight 1, is a mean over pixels (MacTok Eq. 7).
    """

    on: bool = False
    kl_weight: Weight = 1e-6

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Masking:
    """Image masking (MacTok Sec. 3.2): m ~ U[-0.1, M] clipped to [0, M]; floor(m N) image tokens are replaced.

    `max_ratio` is M. `semantic_share` is the probability that a draw hides the patches of highest semantic score
    instead of random patches (the paper's mix ratio). `per` sets whether m and this choice are drawn per image or per
    batch; the paper does not specify this.
    """

    on: bool = False
    max_ratio: Share = 0.7
    semantic_share: Share = 0.0
    per: Literal["image", "batch"] = "image"

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentMasking:
    """Masking of the latent tokens after sampling, like image masking (the alternative in MacTok Fig. 1 and 7)."""

    on: bool = False
    max_ratio: Share = 0.7
    per: Literal["image", "batch"] = "image"

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Alignment:
    """Alignment of the latents with a frozen teacher (MacTok Sec. 3.3, Eq. 3-6).

    `local_term` aligns with every patch token p_i, `global_term` with the class token c. `hidden` is the hidden width
    of the two heads. `latents` sets whether the sample or the posterior mean is aligned; the paper does not specify it.
    """

    local_term: bool = False
    global_term: bool = False
    weight: Weight = 0.1
    hidden: Positive = 1024
    latents: Literal["sample", "mean"] = "sample"

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


@dataclass(frozen=True, config=STRICT)
class Tokenizer:
    """A continuous 1D tokenizer: ViT encoder over [x; z], bottleneck, ViT decoder, and the parts that shape training.

    `tokens` is L, `channels` is Z, `patch_size` is P in pixels. `rotary`: every attention also rotates image tokens by
    row and column. `dinov2_encoder`: the encoder starts from the weights of the DINOv2 of its size.
    """

    patch_size: Positive
    tokens: Positive
    channels: Positive
    encoder: Transformer
    decoder: Transformer
    gaussian: Gaussian = Gaussian()
    masking: Masking = Masking()
    latent_masking: LatentMasking = LatentMasking()
    alignment: Alignment = Alignment()
    perceptual: Perceptual = Perceptual()
    adversarial: Adversarial = Adversarial()
    rotary: bool = False
    dinov2_encoder: bool = False

    def __post_init__(self) -> None:
        for size in (self.encoder, self.decoder) if self.rotary else ():
            if size.width // size.heads % 4:  # an angle rotates two dimensions, and there are two axes
                raise ValueError(f"rotary: a head of {size.width} / {size.heads} dimensions is not a multiple of 4")

    @property
    def numbers(self) -> int:
        """How many numbers the latents of an image have, L x Z."""
        return self.tokens * self.channels

    def image_tokens(self, image_size: int) -> int:
        """N, the number of image tokens of a square image of `image_size` pixels. Raises ValueError for wrong sizes."""
        if image_size % self.patch_size:
            raise ValueError(f"image size {image_size} px is not a multiple of patch_size {self.patch_size} px")
        n = (image_size // self.patch_size) ** 2
        if n % self.tokens:
            raise ValueError(f"tokens L = {self.tokens} does not divide the N = {n} image tokens")
        return n

    def parameters(self, image_size: int) -> int:
        """Parameters of encoder, bottleneck and decoder, with positions and learned tokens, without alignment heads."""
        n, pixels = self.image_tokens(image_size), 3 * self.patch_size**2
        e, d = self.encoder.width, self.decoder.width
        encoder = (pixels + 1) * e + (n + self.tokens) * e + self.encoder.parameters
        decoder = (self.channels + 1) * d + (self.tokens + n) * d + self.decoder.parameters + (d + 1) * pixels
        moments = (2 if self.gaussian.on else 1) * (e + 1) * self.channels
        return encoder + moments + decoder + self.masking.on * e + self.latent_masking.on * self.channels

    @property
    def wants_teacher(self) -> bool:
        """Whether training needs the teacher's features, for alignment or for semantic masking."""
        return self.alignment.active or (self.masking.on and self.masking.semantic_share > 0)
