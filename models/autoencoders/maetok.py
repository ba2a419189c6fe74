"""The network of MAETok: mixed rotary positions, a modulated decoder (Chen et al. 2025)."""

from __future__ import annotations

from torch import Tensor, nn

from models import config
from models.autoencoders.vit_1d import ViT1D
from models.layers.mixed_rotary import MixedRotary
from models.layers.modulated import ModulatedBlocks
from models.layers.transformer import Blocks
from models.tokenizers.maetok import CLASS_TOKENS


class MaeTok(ViT1D):
    """Images (B, 3, H, W) in [-1, 1] <-> latent tokens (B, L, Z), without noise."""

    def __init__(self, tokenizer: config.Tokenizer, image_size: int):
        decoder = ModulatedBlocks(tokenizer.decoder, tokenizer.channels)
        halves = iter((Blocks, lambda size: decoder))
        learned = tokenizer.released_positions
        super().__init__(tokenizer, image_size, lambda size: next(halves)(size), CLASS_TOKENS, absolute=learned)
        before, after = int(CLASS_TOKENS[0]), self.tokens
        self.encoder_rotary = MixedRotary(tokenizer.encoder, self.side, before, after)
        self.decoder_rotary = MixedRotary(tokenizer.decoder, self.side, int(CLASS_TOKENS[1]), after)

    def encode_tokens(self, tokens: Tensor, read: slice, hidden: Tensor | None) -> Tensor:
        h: Tensor = self.encoder(tokens, self.encoder_rotary(), read, hidden)
        return h

    def decode_tokens(self, tokens: Tensor, read: slice, z: Tensor) -> Tensor:
        h: Tensor = self.decoder(tokens, z, self.decoder_rotary(), read)
        return h

    def decoder_parameters(self) -> list[nn.Parameter]:
        return [*super().decoder_parameters(), *self.decoder_rotary.parameters()]
