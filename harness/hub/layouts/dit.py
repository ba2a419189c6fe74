"""The transformers of SiT, REPA and LightningDiT (after DiT: Peebles & Xie 2023), as an `AdaptiveTransformer`."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.hub.checkpoint import Checkpoint, under
from harness.hub.generator import GeneratorConfig
from harness.hub.layouts.shapes import channels_first, grid_side, heads
from models.config import Transformer
from models.generators import FREQUENCIES
from models.layers.transformer import phases


def configured(released: Checkpoint, name: str, qk_norm: bool = False) -> GeneratorConfig:
    """The configuration that the shapes tell. Latents are tokens in a line if a linear layer embeds them."""
    _, read, width = released.shape("pos_embed", 1, None, None)
    size = Transformer(width, released.count("blocks.{}.attn.qkv.weight"), heads(width))
    classes = released.shape("y_embedder.embedding_table.weight", None, width)[0] - 1
    if "x_embedder.weight" in released:
        channels = released.shape("x_embedder.weight", width, None)[1]
        return GeneratorConfig(name, size, read, channels, classes, qk_norm=qk_norm)
    _, channels, patch, _ = released.shape("x_embedder.proj.weight", width, None, None, None)
    side = patch * grid_side(released, "pos_embed")
    return GeneratorConfig(name, size, side**2, channels, classes, side, patch, qk_norm)


def state(released: Checkpoint, config: GeneratorConfig, backwards: bool) -> dict[str, Tensor]:
    """All tensors outside the blocks. `backwards`: released times run from noise to data, and velocities with them."""
    width, embed = config.size.width, "x_embedder" if config.side is None else "x_embedder.proj"
    time = released.linear("t_embedder.mlp.0", width, FREQUENCIES)
    time["weight"] = _of_our_time(time["weight"], backwards)
    return {
        "positions": released.take("pos_embed", 1, config.read.tokens, width),
        **under("embed", released.linear(embed, width, config.read.channels)),
        **under("time.0", time),
        **under("time.2", released.linear("t_embedder.mlp.2", width, width)),
        "label.weight": released.take("y_embedder.embedding_table.weight", config.classes + 1, width),
        **under("modulation", released.linear("final_layer.adaLN_modulation.1", 2 * width, width)),
        **under("to_velocity", _velocity(released, config, backwards)),
    }


def block(released: Checkpoint, number: int, width: int) -> dict[str, Tensor]:
    """The layers that all blocks have."""
    name = f"blocks.{number}"
    layers = {
        **under("qkv", released.linear(f"{name}.attn.qkv", 3 * width, width)),
        **under("proj", released.linear(f"{name}.attn.proj", width, width)),
        **under("modulation", released.linear(f"{name}.adaLN_modulation.1", 6 * width, width)),
    }
    return under(name, layers)


def sit_blocks(released: Checkpoint, size: Transformer) -> dict[str, Tensor]:
    """The blocks of a SiT."""
    tensors: dict[str, Tensor] = {}
    for number in range(size.depth):
        name, width = f"blocks.{number}", size.width
        tensors |= block(released, number, width)
        tensors |= under(f"{name}.mlp.0", released.linear(f"{name}.mlp.fc1", 4 * width, width))
        tensors |= under(f"{name}.mlp.2", released.linear(f"{name}.mlp.fc2", width, 4 * width))
    return tensors


def _of_our_time(weight: Tensor, backwards: bool) -> Tensor:
    """The first layer of the time's embedding, which reads [cos; sin] of phases there and [sin; cos] here.

    A released time of 1 - t has cos(f - f t) and sin(f - f t), which are linear in cos(f t) and sin(f t).
    """
    cos, sin = weight.double().chunk(2, dim=1)
    if backwards:
        f = phases(torch.ones(1), FREQUENCIES // 2).double()
        cos, sin = cos * f.cos() + sin * f.sin(), cos * f.sin() - sin * f.cos()
    return torch.cat([sin, cos], dim=1).float()


def _velocity(released: Checkpoint, config: GeneratorConfig, backwards: bool) -> dict[str, Tensor]:
    """The last layer. Further channels, of a variance that nothing reads, are left out."""
    patch, width = config.patch_size, config.size.width
    outputs = released.shape("final_layer.linear.weight", None, width)[0]
    learned = 2 if outputs == 2 * config.read.channels else 1
    layer = released.linear("final_layer.linear", learned * config.read.channels, width)
    sign = -1 if backwards else 1
    return {kind: sign * channels_first(tensor, patch)[: config.read.channels] for kind, tensor in layer.items()}
