"""The two ViTs of timm that make SoftVQ-VAE and MAETok (Chen et al. 2025), as those of a `ViT1D`.

Norms here add 1e-5 to the variance, released ones 1e-6. Every layer that makes tokens, or adds to them, makes them
sqrt(10) times as large: norms alone read them, so this cancels the difference exactly.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from harness.hub.checkpoint import Checkpoint, Converted, parted, scaled, under
from harness.hub.layouts.shapes import channels_first, grid_side, heads
from models.config import Tokenizer, Transformer

LARGER = math.sqrt(10)
IGNORED = (  # read in training alone, or by nobody
    *("encoder.mask_token", "repa_model.", "projection.", "quantize.codebook_used"),
    "decoder.model.patch_embed.",
)


def configured(released: Checkpoint, name: str, **parts: Any) -> tuple[int, Tokenizer]:
    """The side of the grid of image tokens, and the tokenizer called `name` with these `parts` of its configuration."""
    side = grid_side(released, "encoder.model.pos_embed", 1)
    _, length, width = released.shape("encoder.latent_tokens", 1, None, None)
    patch = released.shape("encoder.model.patch_embed.proj.weight", width, 3, None, None)[-1]
    encoder = _size(released, "encoder", width)
    decoder = _size(released, "decoder", released.shape("decoder.mask_token", 1, 1, None)[-1])
    channels = released.shape("post_quant_conv.weight", decoder.width, None)[1]
    return side, Tokenizer(patch, length, channels, encoder, decoder, name=name, **parts)


def converted(released: Checkpoint, side: int, tokenizer: Tokenizer) -> Converted:
    """The tokenizer with the tensors of both halves; those of codes are not among them."""
    n, width = side**2, tokenizer.decoder.width
    positions = released.take("decoder.model.pos_embed", 1, 1 + n, width)
    class_token = released.take("decoder.model.cls_token", 1, 1, width) + positions[:, :1]
    state = {
        **encoder(released, side, tokenizer),
        **blocks(released, "decoder", tokenizer.decoder),
        **decoder_ends(released, positions[:, 1:], tokenizer),
        "decoder_class": LARGER * class_token,
    }
    return Converted(side * tokenizer.patch_size, tokenizer, state)


def encoder(released: Checkpoint, side: int, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The encoder and its layer to latents."""
    width, length = tokenizer.encoder.width, tokenizer.tokens
    positions = released.take("encoder.model.pos_embed", 1, 1 + side**2, width)
    latents = [released.take(f"encoder.latent_{name}", 1, length, width) for name in ("tokens", "pos_embed")]
    tokens = {
        **under("embed", released.linear("encoder.model.patch_embed.proj", width, 3 * tokenizer.patch_size**2)),
        "encoder_class": released.take("encoder.model.cls_token", 1, 1, width) + positions[:, :1],
        "image_positions": positions[:, 1:],
        "latent_tokens": latents[0] + latents[1],
    }
    return scaled(tokens, LARGER) | blocks(released, "encoder", tokenizer.encoder) | _to_latents(released, tokenizer)


def decoder_ends(released: Checkpoint, positions: Tensor | float, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """What is before and after the blocks of the decoder. `positions` (1, N, D) are those of image tokens."""
    width, channels, patch = tokenizer.decoder.width, tokenizer.channels, tokenizer.patch_size
    tokens = {
        **under("from_latents", released.linear("post_quant_conv", width, channels)),
        "latent_positions": released.take("decoder.latent_pos_embed", 1, tokenizer.tokens, width),
        "reconstruction_tokens": released.take("decoder.mask_token", 1, 1, width) + positions,
    }
    pixels = released.linear("decoder.to_pixel.model", 3 * patch**2, width)
    ordered = {kind: channels_first(tensor, patch) for kind, tensor in pixels.items()}
    return scaled(tokens, LARGER) | under("to_pixels", ordered)


def _to_latents(released: Checkpoint, tokenizer: Tokenizer) -> dict[str, Tensor]:
    names = ["to_mean", "to_log_variance"] if tokenizer.gaussian.on else ["to_mean"]
    layer = released.linear("quant_conv", len(names) * tokenizer.channels, tokenizer.encoder.width)
    return parted(layer, names)


def blocks(released: Checkpoint, half: str, size: Transformer) -> dict[str, Tensor]:
    """The blocks and the last norm of a half, as `Blocks` has them."""
    state = under(f"{half}.{size.depth}", released.layer(f"{half}.model.norm", size.width))
    for number in range(size.depth):
        state |= under(f"{half}.{number}", block(released, f"{half}.model.blocks.{number}", size.width))
    return state


def block(released: Checkpoint, name: str, width: int) -> dict[str, Tensor]:
    """A block, as `Block` has it."""
    first, second = (under(norm, released.layer(f"{name}.{norm}", width)) for norm in ("norm1", "norm2"))
    return first | second | layers(released, name, width)


def layers(released: Checkpoint, name: str, width: int) -> dict[str, Tensor]:
    """The linear layers of a block. LayerScale becomes part of those that add to the tokens."""

    def adds(layer: str, scale: str, inputs: int) -> dict[str, Tensor]:
        gamma = f"{name}.{scale}.gamma"
        linear = released.linear(f"{name}.{layer}", width, inputs)
        return scaled(linear, LARGER * released.take(gamma, width) if gamma in released else LARGER)

    return {
        **under("qkv", released.linear(f"{name}.attn.qkv", 3 * width, width)),
        **under("proj", adds("attn.proj", "ls1", width)),
        **under("mlp.0", released.linear(f"{name}.mlp.fc1", 4 * width, width)),
        **under("mlp.2", adds("mlp.fc2", "ls2", 4 * width)),
    }


def _size(released: Checkpoint, half: str, width: int) -> Transformer:
    return Transformer(width, released.count(f"{half}.model.blocks.{{}}.attn.qkv.weight"), heads(width))
