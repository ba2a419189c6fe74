"""A tokenizer whose latents are its image tokens: a ViT encoder and a ViT decoder on one grid (l-DeTok)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models import config
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer, learned, patches, unpatches
from models.layers.layout import Convolution
from models.layers.transformer import NormedBlocks, RMSNorm, SwiGLU, angles_2d, positions_2d, uneven_angles_2d


class ViTGrid(Tokenizer):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, N, Z) of the N image tokens.

    RMS norms, SwiGLU, learned positions and rotary ones. Dropped tokens are seen by none; their posterior is the prior,
    and the decoder has its mask token there.
    """

    to_mean: nn.Linear

    def __init__(self, tokenizer: config.Tokenizer, image_size: int, channels: int):
        super().__init__()
        self.side = image_size // tokenizer.patch_size
        pixels, width = 3 * tokenizer.patch_size**2, tokenizer.encoder.width
        self.embed = nn.Linear(pixels, width)
        self.encoder_positions = nn.Parameter(positions_2d(self.side, width))
        self.encoder = NormedBlocks(tokenizer.encoder, RMSNorm, SwiGLU)
        self.to_mean = nn.Linear(width, channels)

        width = tokenizer.decoder.width
        self.from_latents = nn.Linear(channels, width)
        self.decoder_positions = nn.Parameter(positions_2d(self.side, width))
        self.decoder = NormedBlocks(tokenizer.decoder, RMSNorm, SwiGLU)
        self.to_pixels = nn.Linear(width, pixels)
        self.smooth = Convolution(3, 3, 3, padding=1)

        self.add_bottleneck(tokenizer, channels, lambda: nn.Linear(tokenizer.encoder.width, channels))
        if tokenizer.masking.on:
            self.mask_token = learned(width)
        angles = uneven_angles_2d if tokenizer.released_positions else angles_2d
        for half, size in (("encoder", tokenizer.encoder), ("decoder", tokenizer.decoder)):
            self.register_buffer(f"{half}_angles", angles(self.side, size.width // size.heads), persistent=False)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
        tokens = self.embed(patches(x, self.side)).to(self.encoder_positions.dtype) + self.encoder_positions
        posterior = self.posterior(self.encoder(tokens, self.encoder_angles, hidden=mask))
        if mask is None:
            return posterior
        mean, log_variance = (part if part is None else part.masked_fill(mask[..., None], 0) for part in posterior[:2])
        assert mean is not None
        return Posterior(mean, log_variance)

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = self.from_latents(z)
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token, tokens)
        h = self.decoder(tokens.to(self.decoder_positions.dtype) + self.decoder_positions, self.decoder_angles)
        image: Tensor = self.smooth(unpatches(self.to_pixels(h).float(), self.side))
        return image.float()

    def without_latents(self, mask: Tensor | None) -> Tensor | None:
        return mask

    @property
    def last_layer(self) -> Tensor:
        return self.smooth.weight

    @property
    def last_of_encoder(self) -> Tensor:
        return self.to_mean.weight

    def decoder_parameters(self) -> list[nn.Parameter]:
        modules = (self.from_latents, self.decoder, self.to_pixels, self.smooth)
        inside = [parameter for module in modules for parameter in module.parameters()]
        return [self.decoder_positions, *inside]  # nothing is dropped then
