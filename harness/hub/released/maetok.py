"""MAETok with mixed rotary positions (continuous_tokenizer; Chen et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.hub.checkpoint import Checkpoint, Converted, under
from harness.hub.layouts import timm_vit
from models.config import Tokenizer, Transformer

IGNORED = (
    *timm_vit.IGNORED,
    *("decoder_", "post_quant_conv_", "to_pixel_"),  # auxiliary decoders
    *("encoder.freqs_t_", "decoder.freqs_t_"),  # coordinates, which are whole numbers
    *("decoder.model.pos_embed", "decoder.model.norm.adaLN_modulation."),  # not read; of tokens that nothing reads
)


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A tokenizer whose encoder adds learned positions to rotary ones, as in the released code.

    A decoder of plain blocks becomes one whose modulation is constant. A class token in the decoder is refused.
    """
    side, made = timm_vit.configured(released, "maetok", released_positions=True)
    state = timm_vit.encoder(released, side, made) | timm_vit.decoder_ends(released, torch.zeros(1, side**2, 1), made)
    for half, size in (("encoder", made.encoder), ("decoder", made.decoder)):
        frequencies = released.take(f"{half}.freqs", 2, size.depth, size.width // 2)
        state[f"{half}_rotary.frequencies"] = frequencies.unflatten(2, (size.heads, -1))
    return Converted(side * made.patch_size, made, _decoder(released, made, state))


def _decoder(released: Checkpoint, made: Tokenizer, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the blocks of the decoder and its last norm."""
    size, width = made.decoder, made.decoder.width
    modulated = "decoder.model.blocks.0.adaLN_modulation.1.weight" in released
    for number in range(size.depth):
        name = f"decoder.model.blocks.{number}"
        if modulated:
            block = timm_vit.layers(released, name, width)
            block |= under("modulation", released.linear(f"{name}.adaLN_modulation.1", 4 * width, made.channels))
        else:
            block = _constant(timm_vit.block(released, name, width), size, made.channels)
        state |= under(f"decoder.blocks.{number}", block)
    return state if modulated else _without_norm(state, "to_pixels", released.layer("decoder.model.norm", width))


def _constant(block: dict[str, Tensor], size: Transformer, channels: int) -> dict[str, Tensor]:
    """A plain block as a modulated one: its norms become part of the layers after them, shifts are 0 and scales 1."""
    for norm, reader in (("norm1", "qkv"), ("norm2", "mlp.0")):
        block = _without_norm(block, reader, {kind: block.pop(f"{norm}.{kind}") for kind in ("weight", "bias")})
    shift_scale = torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat_interleave(size.width)
    return block | {"modulation.weight": torch.zeros(4 * size.width, channels), "modulation.bias": shift_scale}


def _without_norm(state: dict[str, Tensor], reader: str, norm: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with gain and bias of a norm as part of the layer that reads it."""
    weight, bias = state[f"{reader}.weight"], state[f"{reader}.bias"]
    return state | {f"{reader}.weight": weight * norm["weight"], f"{reader}.bias": bias + weight @ norm["bias"]}
