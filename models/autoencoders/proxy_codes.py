"""TiTok in two stages: the decoder predicts codes of another tokenizer, which become pixels (Yu et al. 2024)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from models import config
from models.autoencoders.bottlenecks import new_codes
from models.autoencoders.convolutional import decoder, last_weight, level
from models.autoencoders.posterior import Posterior
from models.autoencoders.vit_1d import ViT1D
from models.layers.layout import convolved
from models.layers.precision import float32
from models.layers.transformer import NormedBlocks


class ProxyDecoder(nn.Module):
    """Outputs of a transformer (B, N, D) -> images (B, 3, H, W): logits over codes, their mean, and a convolution.

    The mean is weighted by the softmax of the logits: no code is chosen, as in the released code.
    """

    def __init__(self, proxy: config.ProxyCodes, width: int):
        super().__init__()
        self.to_logits = nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, proxy.codes))
        self.codes = new_codes(proxy.codes, proxy.channels)
        self.decoder = decoder(
            proxy.widths[::-1],
            proxy.blocks,
            proxy.groups,
            proxy.channels,
            lambda width, groups: level(width, width, proxy.blocks, groups, False),
        )

    def forward(self, h: Tensor) -> Tensor:
        side, logits = math.isqrt(h.shape[1]), self.to_logits(h)
        with float32(logits):
            mean = logits.float().softmax(-1) @ self.codes
        image: Tensor = self.decoder(convolved(mean.mT.unflatten(2, (side, side))))
        return image.float()


class TwoStages(ViT1D):
    """Images (B, 3, H, W) in [-1, 1] <-> latent tokens (B, L, Z), as the weights of two stages were trained.

    The released code takes the L x D numbers of the encoder's output for D x L without turning them around, so that
    every latent is made of numbers of several tokens.
    """

    to_pixels: ProxyDecoder

    def __init__(self, tokenizer: config.Tokenizer, image_size: int, class_tokens: tuple[bool, bool]):
        super().__init__(tokenizer, image_size, NormedBlocks, class_tokens)
        self.to_pixels = ProxyDecoder(tokenizer.proxy_codes, tokenizer.decoder.width)

    def posterior(self, h: Tensor) -> Posterior:
        return super().posterior(h.reshape(len(h), h.shape[2], h.shape[1]).mT)

    def images(self, h: Tensor) -> Tensor:
        return self.to_pixels(h)

    @property
    def last_layer(self) -> Tensor:
        return last_weight(self.to_pixels.decoder)
