"""LightningDiT, on a grid of latents (LightningDiT; Yao et al. 2025)."""

from __future__ import annotations

from torch import Tensor

from harness.hub.checkpoint import Checkpoint, under
from harness.hub.generator import GeneratorConfig
from harness.hub.layouts import dit
from harness.system.errors import Mistake
from models.config import Transformer
from models.layers.transformer import angles_2d

IGNORED = ()


def generator(released: Checkpoint) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """A LightningDiT with RMS norms, SwiGLU and rotary positions, whose times run from noise to data."""
    config = dit.configured(released, "lightningdit", "blocks.0.attn.q_norm.weight" in released)
    if config.read.side is None:
        raise Mistake(f"{released.about}: its latents are tokens in a line, and released ones are on a grid")
    angles = angles_2d(config.read.side, config.size.width // config.size.heads).repeat_interleave(2, dim=1)
    for name, values in (("cos", angles.cos()), ("sin", angles.sin())):
        released.expect(f"feat_rope.freqs_{name}", values)
    tensors = dit.state(released, config, backwards=True) | _blocks(released, config.size, config.qk_norm)
    return config, tensors | {"norm.gain": released.take("final_layer.norm_final.weight", config.size.width)}


def _blocks(released: Checkpoint, size: Transformer, qk_norm: bool) -> dict[str, Tensor]:
    width, hidden, head = size.width, 8 * size.width // 3, size.width // size.heads
    tensors: dict[str, Tensor] = {}
    for number in range(size.depth):
        name = f"blocks.{number}"
        tensors |= dit.block(released, number, width)
        tensors |= under(f"{name}.mlp.up", released.linear(f"{name}.mlp.w12", 2 * hidden, width))
        tensors |= under(f"{name}.mlp.down", released.linear(f"{name}.mlp.w3", width, hidden))
        for norm in ("norm1", "norm2"):
            tensors[f"{name}.{norm}.gain"] = released.take(f"{name}.{norm}.weight", width)
        for place, norm in enumerate(("q_norm", "k_norm") if qk_norm else ()):
            tensors[f"{name}.qk_norms.{place}.gain"] = released.take(f"{name}.attn.{norm}.weight", head)
    return tensors
