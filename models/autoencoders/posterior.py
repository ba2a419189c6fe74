"""What the encoder says of an image: a Gaussian for every latent dimension, and its KL divergence from the prior."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Posterior(NamedTuple):
    """q(z | x): mean and log-variance (B, L, Z); a deterministic bottleneck has no log-variance.

    Where codes take the place of latents, `mean` is made of codes, `before` (B, L, Z) are the latents that they
    replaced, and `codes` (B, L) are the indices of the nearest ones, counted on from codebook to codebook.
    """

    mean: Tensor
    log_variance: Tensor | None
    before: Tensor | None = None
    codes: Tensor | None = None

    def sample(self, noise: Tensor) -> Tensor:
        """z = mean + sigma * noise, for noise ~ N(0, I) of the same shape; the mean if it is deterministic."""
        if self.log_variance is None:
            return self.mean
        return self.mean + (self.log_variance / 2).exp() * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) in nats per image and dimension (B, L, Z)."""
        assert self.log_variance is not None, "a deterministic bottleneck has no KL divergence"
        return (self.mean**2 + self.log_variance.exp() - 1 - self.log_variance) / 2
