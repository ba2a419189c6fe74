"""What takes the place of latents: the nearest code, or a mean of codes. Both give posteriors without variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.autoencoders.posterior import Posterior
from models.layers.precision import float32


class Quantiser(nn.Module):
    """Puts codes in the place of latents, and has a term of its own in the objective, called `term`."""

    term: str
    weight: float

    def forward(self, z: Tensor) -> Posterior:
        """The posterior that stands for latents z (B, L, Z)."""
        raise NotImplementedError

    def loss(self, posterior: Posterior) -> Tensor:
        """The term for a posterior of `forward`, a mean over the batch."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """The number of codes of all codebooks."""
        raise NotImplementedError


def new_codes(*shape: int) -> nn.Parameter:
    """Codes (..., n, Z), U(-1/n, 1/n)."""
    return nn.Parameter((2 * torch.rand(*shape) - 1) / shape[-2])


class SoftCodes(Quantiser):
    """Means of codes of length 1, weighted by a softmax of cosines (SoftVQ-VAE: Chen et al. 2025).

    The tokens are split by position over the K codebooks. The cosines see detached codes, so that codes learn from the
    mean alone. The mean is not scaled to length 1.
    """

    term = "entropy"

    def __init__(self, soft: config.SoftCodes, channels: int):
        super().__init__()
        self.config, self.weight = soft, soft.entropy_weight
        self.codes = nn.Parameter(
            functional.normalize(new_codes(soft.codebooks, soft.codes, channels).detach(), dim=-1)
        )

    def forward(self, z: Tensor) -> Posterior:
        with float32(z):
            p = (self._cosines(z) / self.config.temperature).softmax(-1)  # (B, K, L / K, n)
            mean = (p @ functional.normalize(self.codes, dim=-1)).flatten(1, 2)
        books, n = torch.arange(self.config.codebooks, device=z.device), self.config.codes
        codes = (p.argmax(-1) + n * books[:, None]).flatten(1)
        return Posterior(mean, None, before=z, codes=codes)

    @property
    def count(self) -> int:
        return self.config.codebooks * self.config.codes

    def loss(self, posterior: Posterior) -> Tensor:
        """Mean entropy of the assignments minus the entropy of their mean, over the rows of all codebooks together."""
        assert posterior.before is not None
        with float32(posterior.mean):
            logits = (self._cosines(posterior.before) / self.config.entropy_temperature).flatten(0, 2)
            log_q = logits.log_softmax(-1)
            q = log_q.exp()
            mean = q.mean(0)
            return mean @ (mean + 1e-6).log() - (q * log_q).sum(-1).mean()

    def _cosines(self, z: Tensor) -> Tensor:
        """Cosines (B, K, L / K, n) of latents (B, L, Z) and the codes of their codebook, without gradient to codes."""
        tokens = functional.normalize(z.float(), dim=-1).unflatten(1, (self.config.codebooks, -1))
        return tokens @ functional.normalize(self.codes.detach(), dim=-1).mT


class Codes(Quantiser):
    """The nearest code, with straight-through gradients (VQ-VAE: van den Oord et al. 2017)."""

    term, weight = "codes", 1.0

    def __init__(self, codes: config.Codes, channels: int):
        super().__init__()
        self.config = codes
        self.codes = new_codes(codes.codes, channels)

    def forward(self, z: Tensor) -> Posterior:
        with float32(z):
            z, codes = self._scaled(z.float()), self._scaled(self.codes)
            with torch.no_grad():  # |z - e|² without |z|²
                indices = (codes.square().sum(-1) - 2 * z @ codes.mT).argmin(-1)
            nearest = self.lookup(indices)
        return Posterior(z + (nearest - z).detach(), None, before=z, codes=indices)

    @property
    def count(self) -> int:
        return self.config.codes

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes (..., Z) of indices (...)."""
        return functional.embedding(indices, self._scaled(self.codes))

    def loss(self, posterior: Posterior) -> Tensor:
        """Squared distance of codes to latents, and of latents to codes times `commitment`; means over all numbers."""
        assert posterior.before is not None and posterior.codes is not None
        z, nearest = posterior.before, self.lookup(posterior.codes)
        of_latents = functional.mse_loss(z, nearest.detach())
        return functional.mse_loss(nearest, z.detach()) + self.config.commitment * of_latents

    def _scaled(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) if self.config.normalised else x


def quantiser(tokenizer: config.Tokenizer, channels: int) -> Quantiser | None:
    """The quantiser of a tokenizer for latents of so many channels; None if its latents are not made of codes."""
    if tokenizer.soft_codes.on:
        return SoftCodes(tokenizer.soft_codes, channels)
    return Codes(tokenizer.codes, channels) if tokenizer.codes.on else None
