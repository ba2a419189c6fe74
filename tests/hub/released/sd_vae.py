"""SD-VAE, alone, inside a latent diffusion model, and by the names of diffusers."""

from __future__ import annotations

import torch

from tests.hub.layouts.convolutional import LEVELS, convolutional
from tests.hub.layouts.writer import Case


def sd_vae() -> Case:
    return convolutional(6, (False, False))


def in_diffusers(name: str) -> str:
    """The name of a tensor in diffusers, which counts the levels of a decoder from the coarsest."""
    parts = name.split(".")
    if parts[1:2] == ["up"]:
        parts[2] = str(len(LEVELS) - 1 - int(parts[2]))
    name = ".".join(parts)
    for ours, theirs in {
        ".down.": ".down_blocks.",
        ".up.": ".up_blocks.",
        ".block.": ".resnets.",
        ".downsample.": ".downsamplers.0.",
        ".upsample.": ".upsamplers.0.",
        "mid.block_1.": "mid_block.resnets.0.",
        "mid.block_2.": "mid_block.resnets.1.",
        "mid.attn_1.norm.": "mid_block.attentions.0.group_norm.",
        "mid.attn_1.proj_out.": "mid_block.attentions.0.to_out.0.",
        "mid.attn_1.": "mid_block.attentions.0.to_",
        "nin_shortcut": "conv_shortcut",
        "norm_out": "conv_norm_out",
    }.items():
        name = name.replace(ours, theirs)
    return name


def sd_vae_in_diffusers() -> Case:
    case = sd_vae()
    state = {in_diffusers(name): tensor for name, tensor in case.state.items() if not name.startswith("loss.")}
    flat = {name: t.flatten(1) if "attentions" in name and t.ndim == 4 else t for name, t in state.items()}
    return case._replace(state=flat)


def sd_vae_in_a_model() -> Case:
    case = sd_vae()
    inside = {f"first_stage_model.{name}": tensor for name, tensor in case.state.items()}
    return case._replace(state=inside | {"model.diffusion_model.out.0.bias": torch.zeros(3), "betas": torch.zeros(9)})


CASES = {"sd_vae": sd_vae, "sd_vae in diffusers": sd_vae_in_diffusers, "sd_vae in a model": sd_vae_in_a_model}
