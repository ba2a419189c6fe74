"""l-DeTok (DeTok; Yang et al. 2025)."""

from __future__ import annotations

from torch import Tensor

from harness.hub.checkpoint import Checkpoint, Converted, parted, under
from harness.hub.layouts.shapes import channels_first, grid_side, heads
from models.config import Gaussian, Tokenizer, Transformer

IGNORED = ("decoder.mask_token",)  # at dropped tokens, in training


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A Gaussian tokenizer on the grid of image tokens, with the uneven angles of the released code."""
    side = grid_side(released, "encoder.positional_embedding")
    encoder, decoder = (_size(released, half) for half in ("encoder", "decoder"))
    made = Tokenizer(
        released.shape("encoder.patch_embed.0.weight", None, 3, None, None)[-1],
        side**2,
        released.shape("decoder.decoder_embed.weight", None, None)[1],
        encoder,
        decoder,
        name="detok",
        gaussian=Gaussian(True),
        released_positions=True,
    )
    patch, channels = made.patch_size, made.channels
    pixels = released.linear("decoder.ffn.1", 3 * patch**2, decoder.width)
    state = {
        **under("embed", released.linear("encoder.patch_embed.0", encoder.width, 3 * patch**2)),
        **parted(released.linear("encoder.latent_head", 2 * channels, encoder.width), ["to_mean", "to_log_variance"]),
        **under("from_latents", released.linear("decoder.decoder_embed", decoder.width, channels)),
        **under("to_pixels", {kind: channels_first(tensor, patch) for kind, tensor in pixels.items()}),
        **under("smooth", released.layer("decoder.conv_out", 3, 3, 3, 3)),
    }
    for half, size in (("encoder", encoder), ("decoder", decoder)):
        state[f"{half}_positions"] = released.take(f"{half}.positional_embedding", 1, side**2, size.width)
        state |= _blocks(released, half, size)
    return Converted(side * patch, made, state)


def _size(released: Checkpoint, half: str) -> Transformer:
    width = released.shape(f"{half}.positional_embedding", 1, None, None)[-1]
    return Transformer(width, released.count(f"{half}.transformer.{{}}.attn.qkv.weight"), heads(width))


def _blocks(released: Checkpoint, half: str, size: Transformer) -> dict[str, Tensor]:
    """The norm before the blocks, the blocks and the last norm, as `NormedBlocks` has them."""
    width, hidden = size.width, 8 * size.width // 3
    state = {
        f"{half}.norm.gain": released.take(f"{half}.ln_pre.weight", width),
        f"{half}.blocks.{size.depth}.gain": released.take(f"{half}.ln_post.weight", width),
    }
    for number in range(size.depth):
        name = f"{half}.transformer.{number}"
        block = {
            "norm1.gain": released.take(f"{name}.norm1.weight", width),
            **under("qkv", released.linear(f"{name}.attn.qkv", 3 * width, width)),
            **under("proj", released.linear(f"{name}.attn.proj", width, width)),
            "norm2.gain": released.take(f"{name}.norm2.weight", width),
            **under("mlp.up", released.linear(f"{name}.mlp.w12", 2 * hidden, width)),
            **under("mlp.down", released.linear(f"{name}.mlp.w3", width, hidden)),
        }
        state |= under(f"{half}.blocks.{number}", block)
    return state
