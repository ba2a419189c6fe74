"""What every tokenizer network offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.autoencoders.bottlenecks import Quantiser, quantiser
from models.autoencoders.posterior import Posterior

LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -30.0, 20.0


class Tokenizer(nn.Module, ABC):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, L, Z); latents on a grid are (B, h w, Z), in row order.

    A mask of `encode` (B, N) hides image tokens in training, where there are any. A mask of `decode` (B, L) hides
    latents. `side` is the side of the grid of image tokens.
    """

    side: int
    to_mean: nn.Module
    quantiser: Quantiser | None

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
        """The posterior of images x; nothing is read of image tokens where `mask` is True."""

    @abstractmethod
    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The images of latents z; nothing is read of latents where `mask` is True."""

    @abstractmethod
    def decoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that decoder fine-tuning trains: everything after the latents."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight of the decoder's last layer, at which gradients of terms are balanced."""

    @property
    @abstractmethod
    def last_of_encoder(self) -> Tensor:
        """The weight of the encoder's last layer."""

    def without_latents(self, mask: Tensor | None) -> Tensor | None:
        """The latents (B, L) that an image mask (B, N) leaves without content; None if latents are not image tokens."""
        return None

    def add_bottleneck(self, tokenizer: config.Tokenizer, channels: int, layer: Callable[[], nn.Module]) -> None:
        """Adds what the bottleneck needs beside `to_mean`; `layer()` makes a layer like it, for the log-variance.

        Modules that only some bottlenecks have are created last, so that tokenizers with the same seed start with the
        same weights in the modules that they share.
        """
        if tokenizer.gaussian.on:
            self.to_log_variance = layer()
        self.committed = tokenizer.gaussian.largest_log_variance
        self.quantiser = quantiser(tokenizer, channels)

    def posterior(self, h: Tensor) -> Posterior:
        """The posterior of the encoder's output h (B, L, D)."""
        mean = self.to_mean(h).float()
        if self.quantiser is not None:
            coded: Posterior = self.quantiser(mean)
            return coded
        if not hasattr(self, "to_log_variance"):
            return Posterior(mean, None)
        log_variance = self.to_log_variance(h).float()
        if self.committed is not None:  # not clamped: new posteriors lie above the bound, and would have no gradient
            log_variance = self.committed - functional.softplus(self.committed - log_variance)
        return Posterior(mean, log_variance.clamp(LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE))


def learned(*shape: int) -> nn.Parameter:
    """A learnable token or table of tokens, N(0, 0.02²)."""
    return nn.Parameter(0.02 * torch.randn(*shape))


def patches(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, side², C P²), patches in row order, each in the order (channel, row, column)."""
    b, c, p = len(x), x.shape[1], x.shape[2] // side
    return x.view(b, c, side, p, side, p).permute(0, 2, 4, 1, 3, 5).reshape(b, side * side, c * p * p)


def unpatches(tokens: Tensor, side: int, channels: int = 3) -> Tensor:
    """The inverse of `patches`."""
    b, c, p = len(tokens), channels, round((tokens.shape[2] / channels) ** 0.5)
    return tokens.view(b, side, side, c, p, p).permute(0, 3, 1, 4, 2, 5).reshape(b, c, side * p, side * p)
