"""The 1D tokenizer: a ViT encoder over image tokens and latent tokens, and a ViT decoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models import config
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer, learned, patches, unpatches
from models.layers.layout import Convolution
from models.layers.transformer import Blocks, angles_2d, positions_1d, positions_2d


class ViT1D(Tokenizer):
    """Images (B, 3, H, W) in [-1, 1] <-> latent tokens (B, L, Z).

    `transformer` makes encoder and decoder. `class_tokens`: whether each has one more token, before all others.
    `absolute`: image tokens, latent tokens and reconstruction tokens have learned positions. `smooth`: a convolution
    follows the decoder's patches. Optional modules are created last, so that variants with the
    same seed start with the same weights in the modules that they share.
    """

    embed: nn.Linear
    image_positions: Tensor
    latent_positions: Tensor
    to_mean: nn.Linear
    to_pixels: nn.Module

    def __init__(
        self,
        tokenizer: config.Tokenizer,
        image_size: int,
        transformer: Callable[[config.Transformer], nn.Module] = Blocks,
        class_tokens: tuple[bool, bool] = (False, False),
        absolute: bool = True,
        smooth: bool = False,
    ):
        super().__init__()
        n = tokenizer.image_tokens(image_size)
        self.tokens, self.patch, self.side = tokenizer.tokens, tokenizer.patch_size, image_size // tokenizer.patch_size
        width, pixels = tokenizer.encoder.width, 3 * tokenizer.patch_size**2
        self.embed = nn.Linear(pixels, width)
        self._add("image_positions", positions_2d(self.side, width), absolute)
        self.latent_tokens = nn.Parameter(positions_1d(tokenizer.tokens, width) + 0.02 * torch.randn(1, 1, width))
        self.encoder = transformer(tokenizer.encoder)
        self.to_mean = nn.Linear(width, tokenizer.channels)

        width = tokenizer.decoder.width
        self.from_latents = nn.Linear(tokenizer.channels, width)
        self._add("latent_positions", positions_1d(tokenizer.tokens, width), absolute)
        positions = positions_1d(n, width) if absolute else torch.zeros(1, 1, width)
        self.reconstruction_tokens = nn.Parameter(positions + 0.02 * torch.randn(1, 1, width))
        self.decoder = transformer(tokenizer.decoder)
        self.to_pixels = nn.Linear(width, pixels)

        encoder_class, decoder_class = class_tokens
        self.encoder_class = learned(1, 1, tokenizer.encoder.width) if encoder_class else None
        self.decoder_class = learned(1, 1, tokenizer.decoder.width) if decoder_class else None
        self.smooth = Convolution(3, 3, 3, padding=1) if smooth else None

        self.add_bottleneck(
            tokenizer, tokenizer.channels, lambda: nn.Linear(tokenizer.encoder.width, tokenizer.channels)
        )
        if tokenizer.replaces:
            self.mask_token = learned(tokenizer.encoder.width)
        if tokenizer.latent_masking.on:
            self.latent_mask_token = learned(tokenizer.channels)
        for half, size, more in (
            ("encoder", tokenizer.encoder, encoder_class),
            ("decoder", tokenizer.decoder, decoder_class),
        ):
            angles = self._angles(size, more) if tokenizer.rotary else None
            self.register_buffer(f"{half}_angles", angles, persistent=False)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
        """The posterior of images x; image tokens where `mask` (B, N) is True are replaced, or seen by none."""
        tokens = self.embed(patches(x, self.side)).to(self.image_positions.dtype)
        hidden = None
        if mask is not None and hasattr(self, "mask_token"):
            tokens = torch.where(mask[..., None], self.mask_token, tokens)
        elif mask is not None:
            hidden = self._with_others(mask)
        sequence = [tokens + self.image_positions, self.latent_tokens.expand(len(x), -1, -1)]
        if self.encoder_class is not None:
            sequence.insert(0, self.encoder_class.expand(len(x), -1, -1))
        return self.posterior(self.encode_tokens(torch.cat(sequence, dim=1), slice(-self.tokens, None), hidden))

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The images of latents z; latent tokens where `mask` (B, L) is True are replaced by the latent mask token."""
        if mask is not None:
            z = torch.where(mask[..., None], self.latent_mask_token, z)
        latents = self.from_latents(z).to(self.latent_positions.dtype) + self.latent_positions
        sequence, first = [self.reconstruction_tokens.expand(len(z), self.side**2, -1), latents], 0
        if self.decoder_class is not None:
            sequence.insert(0, self.decoder_class.expand(len(z), -1, -1))
            first = 1
        image = slice(first, first + self.side**2)
        return self.images(self.decode_tokens(torch.cat(sequence, dim=1), image, z))

    def images(self, h: Tensor) -> Tensor:
        """The images of the decoder's output h (B, N, D)."""
        x = unpatches(self.to_pixels(h).float(), self.side)
        return x if self.smooth is None else self.smooth(x).float()

    def encode_tokens(self, tokens: Tensor, read: slice, hidden: Tensor | None) -> Tensor:
        """The encoder's output for the tokens in `read`."""
        h: Tensor = self.encoder(tokens, self.encoder_angles, read, hidden)
        return h

    def decode_tokens(self, tokens: Tensor, read: slice, z: Tensor) -> Tensor:
        """The decoder's output for the tokens in `read`; the last tokens are those of latents z."""
        h: Tensor = self.decoder(tokens, self.decoder_angles, read)
        return h

    def _with_others(self, mask: Tensor) -> Tensor:
        """The mask of the whole sequence, in which only image tokens are hidden."""
        before, after = (mask.new_zeros(len(mask), n) for n in (int(self.encoder_class is not None), self.tokens))
        return torch.cat([before, mask, after], dim=1)

    def _add(self, name: str, positions: Tensor, on: bool) -> None:
        """Adds learned positions, or zeros in their place."""
        if on:
            self.register_parameter(name, nn.Parameter(positions))
        else:
            self.register_buffer(name, torch.zeros(1, 1, positions.shape[-1]), persistent=False)

    def _angles(self, size: config.Transformer, class_token: bool) -> Tensor:
        """Rotary angles (T, d/2): of grid positions, and zeros for the tokens that are not on the grid."""
        angles = angles_2d(self.side, size.width // size.heads)
        return nn.functional.pad(angles, (0, 0, int(class_token), self.tokens))

    @property
    def last_layer(self) -> Tensor:
        return (self.to_pixels if self.smooth is None else self.smooth).get_parameter("weight")

    @property
    def last_of_encoder(self) -> Tensor:
        return self.to_mean.weight

    def decoder_parameters(self) -> list[nn.Parameter]:
        modules = (self.from_latents, self.decoder, self.to_pixels, self.smooth)
        inside = [parameter for module in modules if module is not None for parameter in module.parameters()]
        tables = (self.latent_positions, self.reconstruction_tokens, self.decoder_class)
        return [table for table in tables if isinstance(table, nn.Parameter)] + inside
