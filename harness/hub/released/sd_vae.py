"""SD-VAE, alone, inside a latent diffusion model, or by the names of diffusers (Rombach et al. 2022)."""

from __future__ import annotations

import re

from harness.hub.checkpoint import Checkpoint, Converted
from harness.hub.layouts import convolutional

IGNORED = convolutional.IGNORED
WHOLE = "first_stage_model."  # the prefix of the tokenizer in a whole model
DIFFUSERS = tuple(  # its names, and those of the first code
    (re.compile(pattern), name)
    for pattern, name in (
        (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
        (r"up_blocks\.(\d+)\.resnets\.(\d+)", r"up.\1.block.\2"),
        (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.(?:to_q|query)", "mid.attn_1.q"),
        (r"mid_block\.attentions\.0\.(?:to_k|key)", "mid.attn_1.k"),
        (r"mid_block\.attentions\.0\.(?:to_v|value)", "mid.attn_1.v"),
        (r"mid_block\.attentions\.0\.(?:to_out\.0|proj_attn)", "mid.attn_1.proj_out"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    )
)


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A convolutional tokenizer; attention in the middles alone."""
    if f"{WHOLE}post_quant_conv.weight" in released:
        released.rename(lambda name: name.removeprefix(WHOLE) if name.startswith(WHOLE) else "")
    elif "encoder.conv_norm_out.weight" in released:
        last = released.count("decoder.up_blocks.{}.resnets.0.conv1.weight") - 1
        released.rename(lambda name: _first_name(name, last))
    return convolutional.converted(released, "sd_vae", image_size)


def _first_name(name: str, last: int) -> str:
    """The name in the first code, which counts the levels of the decoder from the finest, 0, to `last`."""
    for pattern, first in DIFFUSERS:
        name = pattern.sub(first, name)
    return re.sub(r"\bup\.(\d+)", lambda found: f"up.{last - int(found[1])}", name)
