"""The best linear tokenizers in closed form: principal components, and the linear-Gaussian optimum at a KL weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.autoencoders.posterior import Posterior


class LinearTokenizer(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, K, 1), one for each principal component.

    It minimises the mean squared error over the D = 3HW pixels plus a KL weight times the KL divergence to N(0, I), if
    encoder and decoder are linear and the data are Gaussian (reverse water-filling: Cover & Thomas, Sec. 10.3.3; as an
    autoencoder: Lucas et al. 2019). `level` is the water level, KL weight x D / 2: a component of variance λ above it
    costs log(λ / level) / 2 nats, and components below it are left out. At level 0 it is principal component analysis
    with a deterministic bottleneck. Over the data every latent has mean 0 and variance 1, so N(0, I) decodes to the
    Gaussian with their mean and covariance, as far as the components reach.

    `mean` is (D,), `components` (K, D) orthonormal rows in channels-first order of pixels, `variances` (K,) falling.
    """

    mean: Tensor
    components: Tensor
    encoding: Tensor
    decoding: Tensor
    log_variance: Tensor | None
    quantiser: None = None  # as other tokenizers have one

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, level: float = 0.0):
        super().__init__()
        kept = variances > level
        variances = variances[kept].double()
        noise = level / variances  # variance of the posterior
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", components[kept].float())
        self.register_buffer("encoding", ((1 - noise) / variances).sqrt().float())
        self.register_buffer("decoding", ((1 - noise) * variances).sqrt().float())
        self.register_buffer("log_variance", noise.log().float() if level else None)

    def encode(self, x: Tensor) -> Posterior:
        """The posterior (B, K, 1) of images x."""
        with torch.autocast(x.device.type, enabled=False):
            z = (x.float().flatten(1) - self.mean) @ self.components.T * self.encoding
        spread = None if self.log_variance is None else self.log_variance.expand_as(z)[..., None]
        return Posterior(z[..., None], spread)

    def decode(self, z: Tensor) -> Tensor:
        """The images of latents z."""
        with torch.autocast(z.device.type, enabled=False):
            x = z.float()[..., 0] * self.decoding @ self.components + self.mean
        side = round((x.shape[1] / 3) ** 0.5)
        return x.unflatten(1, (3, side, side))
