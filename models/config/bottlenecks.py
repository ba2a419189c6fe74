"""What stands between encoder and decoder: Gaussian, soft codes, codes, and what disturbs latents in training."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Above, Positive, Share, Weight


@dataclass(frozen=True, config=STRICT)
class Gaussian:
    """Gaussian bottleneck with a KL term (Kingma & Welling 2014); off: the bottleneck is deterministic.

    `kl_weight` multiplies the KL divergence to N(0, I) in nats, summed over the L x Z dimensions, mean over the batch.
    The reconstruction error, which has weight 1, is a mean over pixels (MacTok Eq. 7).

    Two remedies for collapse: the KL of a dimension, as a mean over the batch, costs nothing below `free_nats` (free
    bits, Kingma et al. 2016); no dimension can have less KL than `committed_nats`, as its variance is bounded (the
    committed rate of delta-VAE, Razavi et al. 2019, for an independent prior).
    """

    on: bool = False
    kl_weight: Weight = 1e-6
    free_nats: Above | None = None
    committed_nats: Annotated[float, Field(gt=0, le=10)] | None = None

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
    """The KL weight rises from 0, a remedy for collapse.

    Over `steps` (linear: Bowman et al. 2016), or, if `cyclical`, four times: in the first half of every cycle of half
    as many steps (Fu et al. 2019). Later it is whole.
    """

    on: bool = False
    cyclical: bool = False
    steps: Positive = 10_000

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

    For `steps` steps the decoder learns only in every `every`-th. The authors stop by the mutual information; the
    length is fixed here, so that rows have equal budgets.
    """

    on: bool = False
    steps: Positive = 10_000
    every: Positive = 5

    @property
    def active(self) -> bool:
        return self.on

    def rests(self, step: int) -> bool:
        """Whether the decoder does not learn at `step`, counted from 0."""
        return self.on and step < self.steps and step % self.every != 0


@dataclass(frozen=True, config=STRICT)
class SoftCodes:
    """Latents that are means of learned codes (SoftVQ-VAE: Chen et al. 2025).

    The tokens are split by position over `codebooks` codebooks of `codes` codes. `temperature` divides the cosines of a
    latent and the codes before the softmax; `entropy_temperature` does so in the entropy term, which is weighted by
    `entropy_weight`.
    """

    on: bool = False
    codebooks: Positive = 4
    codes: Positive = 8192
    temperature: Above = 0.07
    entropy_weight: Weight = 0.01
    entropy_temperature: Above = 0.01

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Codes:
    """Latents that are the nearest of learned codes (VQ-VAE: van den Oord et al. 2017); gradients go straight through.

    `normalised`: latents and codes have length 1 (ViT-VQGAN, TiTok). `commitment` weighs the part of the term that
    moves the latents, against 1 for the part that moves the codes.
    """

    on: bool = False
    codes: Annotated[int, Field(ge=2, le=65_536)] = 4096
    normalised: bool = True
    commitment: Weight = 0.25

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentNoise:
    """Noise on the latents in training (l-DeTok: Yang et al. 2025): z' = (1 - u) z + u s e, u ~ U[0, 1) per image.

    `scale` is s. `additive`: z' = z + u s e.
    """

    on: bool = False
    scale: Weight = 3.0
    additive: bool = False

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentDropout:
    """Dropout of the latents in training: every number is 0 with probability `rate`, others grow by 1 / (1 - rate)."""

    on: bool = False
    rate: Annotated[Share, Field(lt=1)] = 0.25

    @property
    def active(self) -> bool:
        return self.on
