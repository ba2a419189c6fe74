"""The continuous 1D tokenizer: ViT encoder over [x; z], Gaussian or deterministic bottleneck, ViT decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models import config
from models.posterior import Posterior
from models.transformer import Blocks, angles_2d, positions_1d, positions_2d

LOG_VARIANCE_RANGE = (-30.0, 20.0)


def learned(*shape: int) -> nn.Parameter:
    """A learnable token or table of tokens, N(0, 0.02²)."""
    return nn.Parameter(0.02 * torch.randn(*shape))


class Tokenizer(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] <-> latent tokens (B, L, Z).

    Optional modules are created last, so that variants with the same seed start with the same weights in the modules
    that they share.
    """

    def __init__(self, tokenizer: config.Tokenizer, image_size: int):
        super().__init__()
        n = tokenizer.image_tokens(image_size)
        self.patch, self.side = tokenizer.patch_size, image_size // tokenizer.patch_size
        width, pixels = tokenizer.encoder.width, 3 * tokenizer.patch_size**2
        self.embed = nn.Linear(pixels, width)
        self.image_positions = nn.Parameter(positions_2d(self.side, width))
        self.latent_tokens = nn.Parameter(positions_1d(tokenizer.tokens, width) + 0.02 * torch.randn(1, 1, width))
        self.encoder = Blocks(tokenizer.encoder)
        self.to_mean = nn.Linear(width, tokenizer.channels)

        width = tokenizer.decoder.width
        self.from_latents = nn.Linear(tokenizer.channels, width)
        self.latent_positions = nn.Parameter(positions_1d(tokenizer.tokens, width))
        self.reconstruction_tokens = nn.Parameter(positions_1d(n, width) + 0.02 * torch.randn(1, 1, width))
        self.decoder = Blocks(tokenizer.decoder)
        self.to_pixels = nn.Linear(width, pixels)

        if tokenizer.gaussian.on:
            self.to_log_variance = nn.Linear(tokenizer.encoder.width, tokenizer.channels)
        if tokenizer.masking.on:
            self.mask_token = learned(tokenizer.encoder.width)
        if tokenizer.latent_masking.on:
            self.latent_mask_token = learned(tokenizer.channels)
        self.register_buffer("encoder_angles", self._angles(tokenizer, tokenizer.encoder), persistent=False)
        self.register_buffer("decoder_angles", self._angles(tokenizer, tokenizer.decoder), persistent=False)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
        """The posterior of images x; image tokens where `mask` (B, N) is True are replaced by the mask token."""
        tokens = self.embed(self.patches(x)).to(self.image_positions.dtype)
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token, tokens)
        latents = self.latent_tokens.expand(len(x), -1, -1)
        tokens = torch.cat([tokens + self.image_positions, latents], dim=1)
        h = self.encoder(tokens, self.encoder_angles, slice(-latents.shape[1], None))
        if not hasattr(self, "to_log_variance"):
            return Posterior(self.to_mean(h).float(), None)
        return Posterior(self.to_mean(h).float(), self.to_log_variance(h).float().clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The images of latents z; latent tokens where `mask` (B, L) is True are replaced by the latent mask token."""
        if mask is not None:
            z = torch.where(mask[..., None], self.latent_mask_token, z)
        tokens = self.reconstruction_tokens.expand(len(z), -1, -1)
        latents = self.from_latents(z).to(self.latent_positions.dtype) + self.latent_positions
        h = self.decoder(torch.cat([tokens, latents], dim=1), self.decoder_angles, slice(tokens.shape[1]))
        return self.unpatches(self.to_pixels(h).float())

    def patches(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, 3 P²), patches in row order."""
        b, p, s = len(x), self.patch, self.side
        return x.view(b, 3, s, p, s, p).permute(0, 2, 4, 1, 3, 5).reshape(b, s * s, 3 * p * p)

    def unpatches(self, tokens: Tensor) -> Tensor:
        """The inverse of `patches`."""
        b, p, s = len(tokens), self.patch, self.side
        return tokens.view(b, s, s, 3, p, p).permute(0, 3, 1, 4, 2, 5).reshape(b, 3, s * p, s * p)

    def _angles(self, tokenizer: config.Tokenizer, size: config.Transformer) -> Tensor | None:
        """Rotary angles (N + L, d/2): of grid positions, and zeros for latent tokens, which are not on the grid."""
        if not tokenizer.rotary:
            return None
        angles = angles_2d(self.side, size.width // size.heads)
        return torch.cat([angles, angles.new_zeros(tokenizer.tokens, angles.shape[1])])

    def decoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that decoder fine-tuning trains: everything after the latents."""
        modules = (self.from_latents, self.decoder, self.to_pixels)
        inside = [parameter for module in modules for parameter in module.parameters()]
        return [self.latent_positions, self.reconstruction_tokens, *inside]
