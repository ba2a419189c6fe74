"""What stands between encoder and decoder: Gaussian, soft codes, codes, and what disturbs latents in training."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Above, Positive, Share, Weight


@dataclass(frozen=True, config=STRICT)
class Gaussian:
    """Gaussian bottleneck with a KL term (Kingma & Welling 2014).

    The last two fields are remedies for collapse: free bits (Kingma et al. 2016), and the committed rate of delta-VAE
    (Razavi et al. 2019), for an independent prior.
    """

    on: bool = False
    """The bottleneck is Gaussian; without it and without codes it is deterministic."""
    kl_weight: Weight = 1e-6
    """It multiplies the KL divergence to N(0, I) in nats, summed over the L x Z dimensions, mean over the batch. The
    reconstruction error, which has weight 1, is a mean over pixels (MacTok Eq. 7)."""
    free_nats: Above | None = None
    """The KL of a dimension, as a mean over the batch, costs nothing below this; if a batch is taken in parts, over
    each."""
    committed_nats: Annotated[float, Field(gt=0, le=10)] | None = None
    """No dimension can have less KL than this, as its variance is bounded."""

    @property
    def active(self) -> bool:
        return self.on

    @property
    def largest_log_variance(self) -> float | None:
        """The log-variance whose KL at mean 0 is `committed_nats`, by bisection; None if nothing is committed."""
        if self.committed_nats is None:
            return None
        low, high = -2 * self.committed_nats - 2, 0.0  # KL = (exp(v) - 1 - v) / 2 falls with v up to 0
        for _ in range(80):
            middle = (low + high) / 2
            enough = (math.exp(middle) - 1 - middle) / 2 >= self.committed_nats
            low, high = (middle, high) if enough else (low, middle)
        return low


@dataclass(frozen=True, config=STRICT)
class Annealing:
    """The KL weight rises from 0, a remedy for collapse."""

    on: bool = False
    """The KL weight rises, and is whole later."""
    cyclical: bool = False
    """It rises four times: in the first half of every cycle of half of `steps` (Fu et al. 2019)."""
    steps: Positive = 10_000
    """The steps over which it rises linearly (Bowman et al. 2016)."""

    @property
    def active(self) -> bool:
        return self.on

    def share(self, step: int) -> float:
        """The share of the whole weight at `step`, counted from 0."""
        if not self.on:
            return 1.0
        period = self.steps / 2
        if self.cyclical and step < 4 * period:
            return min(1.0, 2 * (step % period + 1) / period)
        return 1.0 if self.cyclical else min(1.0, (step + 1) / self.steps)


@dataclass(frozen=True, config=STRICT)
class Lagging:
    """The encoder learns more often than the decoder at first (He et al. 2019), a remedy for collapse.

    The authors stop by the mutual information; the length is fixed here, so that rows have equal budgets.
    """

    on: bool = False
    """The decoder learns less often at first."""
    steps: Positive = 10_000
    """For so many steps."""
    every: Positive = 5
    """The decoder learns only in every step of this number."""

    @property
    def active(self) -> bool:
        return self.on

    def rests(self, step: int) -> bool:
        """Whether the decoder does not learn at `step`, counted from 0."""
        return self.on and step < self.steps and step % self.every != 0


@dataclass(frozen=True, config=STRICT)
class SoftCodes:
    """Latents that are means of learned codes (SoftVQ-VAE: Chen et al. 2025)."""

    on: bool = False
    """The bottleneck has soft codes."""
    codebooks: Positive = 4
    """The tokens are split by position over so many codebooks."""
    codes: Positive = 8192
    """Codes of a codebook."""
    temperature: Above = 0.07
    """It divides the cosines of a latent and the codes before the softmax."""
    entropy_weight: Weight = 0.01
    """Weight of the entropy term, which is that of the assignments of a whole batch, or of each part of one."""
    entropy_temperature: Above = 0.01
    """The temperature in the entropy term."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Codes:
    """Latents that are the nearest of learned codes (VQ-VAE: van den Oord et al. 2017); gradients go straight
    through.
    """

    on: bool = False
    """The bottleneck has codes."""
    codes: Annotated[int, Field(ge=2, le=65_536)] = 4096
    """The number of codes."""
    normalised: bool = True
    """Latents and codes have length 1 (ViT-VQGAN, TiTok)."""
    commitment: Weight = 0.25
    """It weighs the part of the term that moves the latents, against 1 for the part that moves the codes."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentNoise:
    """Noise on the latents in training (l-DeTok: Yang et al. 2025): z' = (1 - u) z + u s e, u ~ U[0, 1) per image.

    `scale` is s. `additive`: z' = z + u s e.
    """

    on: bool = False
    """Latents are noisy in training."""
    scale: Weight = 3.0
    """s, the scale of the noise."""
    additive: bool = False
    """The noise is added to the latents: z' = z + u s e."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentDropout:
    """Dropout of the latents in training."""

    on: bool = False
    """Numbers of the latents are dropped in training."""
    rate: Annotated[Share, Field(lt=1)] = 0.25
    """The probability that a number is 0; others grow by 1 / (1 - `rate`)."""

    @property
    def active(self) -> bool:
        return self.on
