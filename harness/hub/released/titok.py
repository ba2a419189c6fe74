"""TiTok in one stage or two, and TA-TiTok in one (1d-tokenizer; Yu et al. 2024, Kim et al. 2025)."""

from __future__ import annotations

from torch import Tensor

from harness.hub.checkpoint import Checkpoint, Converted, parted, under
from harness.hub.layouts import maskgit_vqgan
from harness.hub.layouts.shapes import channels_first, grid_side, heads
from models.config import Codes, Gaussian, ProxyCodes, Tokenizer, Transformer

IGNORED = ("quantize.embed_prob",)
CODES = "quantize.embedding.weight"


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A tokenizer of images in [0, 1]. In two stages, its decoder predicts codes of another tokenizer.

    Codes of two stages are normalised, those of one stage are not: no tensor tells it.
    """
    two_stages = "decoder.ffn.2.weight" in released
    encoder, decoder = (_size(released, half) for half in ("encoder", "decoder"))
    codes = released.shape(CODES, None, None)[0] if CODES in released else None
    made = Tokenizer(
        released.shape("encoder.patch_embed.weight", None, 3, None, None)[-1],
        released.shape("latent_tokens", None, None)[0],
        released.shape("decoder.decoder_embed.weight", None, None)[1],
        encoder,
        decoder,
        name="titok",
        codes=Codes(True, codes, normalised=two_stages) if codes else Codes(),
        gaussian=Gaussian(codes is None),
        proxy_codes=maskgit_vqgan.configured(released) if two_stages else ProxyCodes(),
    )
    side = grid_side(released, "encoder.positional_embedding", 1)
    state = _encoder(released, side, made) | _decoder(released, side, made)
    state |= _of_proxy_codes(released, made) if two_stages else _of_patches(released, made)
    if codes:
        state["quantiser.codes"] = released.take(CODES, codes, made.channels)
    return Converted(side * made.patch_size, made, state)


def _size(released: Checkpoint, half: str) -> Transformer:
    width = released.shape(f"{half}.class_embedding", 1, None)[1]
    return Transformer(width, released.count(f"{half}.transformer.{{}}.attn.in_proj_weight"), heads(width))


def _encoder(released: Checkpoint, side: int, made: Tokenizer) -> dict[str, Tensor]:
    width, length, patch = made.encoder.width, made.tokens, made.patch_size
    names = ["to_mean", "to_log_variance"] if made.gaussian.on else ["to_mean"]
    embed = released.linear("encoder.patch_embed", width, 3 * patch**2)
    positions = released.take("encoder.positional_embedding", 1 + side**2, width)[None]
    own = released.take("encoder.latent_token_positional_embedding", length, width)
    return {
        "embed.weight": embed["weight"] / 2,  # pixels in [0, 1] are (x + 1) / 2
        "embed.bias": embed["bias"] + embed["weight"].sum(1) / 2,
        "encoder_class": released.take("encoder.class_embedding", 1, width)[None] + positions[:, :1],
        "image_positions": positions[:, 1:],
        "latent_tokens": (released.take("latent_tokens", length, width) + own)[None],
        **_blocks(released, "encoder", made.encoder),
        **parted(released.linear("encoder.conv_out", len(names) * made.channels, width), names),
    }


def _decoder(released: Checkpoint, side: int, made: Tokenizer) -> dict[str, Tensor]:
    width, length = made.decoder.width, made.tokens
    positions = released.take("decoder.positional_embedding", 1 + side**2, width)[None]
    return {
        **under("from_latents", released.linear("decoder.decoder_embed", width, made.channels)),
        "decoder_class": released.take("decoder.class_embedding", 1, width)[None] + positions[:, :1],
        "reconstruction_tokens": released.take("decoder.mask_token", 1, 1, width) + positions[:, 1:],
        "latent_positions": released.take("decoder.latent_token_positional_embedding", length, width)[None],
        **_blocks(released, "decoder", made.decoder),
    }


def _of_patches(released: Checkpoint, made: Tokenizer) -> dict[str, Tensor]:
    """What makes pixels of the decoder's output in one stage."""
    patch = made.patch_size
    pixels = released.linear("decoder.ffn.0", 3 * patch**2, made.decoder.width)
    smooth = released.layer("decoder.conv_out", 3, 3, 3, 3)
    return {
        **under("to_pixels", {kind: channels_first(tensor, patch) for kind, tensor in pixels.items()}),
        "smooth.weight": 2 * smooth["weight"],
        "smooth.bias": 2 * smooth["bias"] - 1,
    }


def _of_proxy_codes(released: Checkpoint, made: Tokenizer) -> dict[str, Tensor]:
    """What makes pixels of the decoder's output in two stages."""
    width, proxy = made.decoder.width, made.proxy_codes
    layers = {
        **under("to_logits.0", released.linear("decoder.ffn.0", 2 * width, width)),
        **under("to_logits.2", released.linear("decoder.ffn.2", proxy.codes, 2 * width)),
        **maskgit_vqgan.state(released, proxy),
    }
    return under("to_pixels", layers)


def _blocks(released: Checkpoint, half: str, size: Transformer) -> dict[str, Tensor]:
    """The norm before the blocks, the blocks and the last norm, as `NormedBlocks` has them."""
    width = size.width
    state = under(f"{half}.norm", released.layer(f"{half}.ln_pre", width))
    state |= under(f"{half}.blocks.{size.depth}", released.layer(f"{half}.ln_post", width))
    for number in range(size.depth):
        name = f"{half}.transformer.{number}"
        block = {
            **under("norm1", released.layer(f"{name}.ln_1", width)),
            "qkv.weight": released.take(f"{name}.attn.in_proj_weight", 3 * width, width),
            "qkv.bias": released.take(f"{name}.attn.in_proj_bias", 3 * width),
            **under("proj", released.linear(f"{name}.attn.out_proj", width, width)),
            **under("norm2", released.layer(f"{name}.ln_2", width)),
            **under("mlp.0", released.linear(f"{name}.mlp.c_fc", 4 * width, width)),
            **under("mlp.2", released.linear(f"{name}.mlp.c_proj", width, 4 * width)),
        }
        state |= under(f"{half}.blocks.{number}", block)
    return state
