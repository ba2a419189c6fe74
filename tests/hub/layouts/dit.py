"""The transformers of SiT, REPA and LightningDiT."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import attend, linear, normed
from tests.hub.layouts.writer import DEPTH, HEADS, WIDTH, State, Writer

CLASSES, FREQUENCIES = 5, 256


def dit_state(seed: int, embed: str, patch: int | None, channels: int, outputs: int, tokens: int) -> Writer:
    """What all generators have; `patch` is None if a linear layer embeds the latents."""
    w, places = Writer(seed), (patch or 1) ** 2
    w.layer(embed, WIDTH, channels, *((patch, patch) if patch else ()))
    w.add("pos_embed", 1, tokens, WIDTH, std=0.5)
    w.layer("t_embedder.mlp.0", WIDTH, FREQUENCIES)
    w.layer("t_embedder.mlp.2", WIDTH, WIDTH)
    w.add("y_embedder.embedding_table.weight", CLASSES + 1, WIDTH, std=0.5)
    for i in range(DEPTH):
        w.layer(f"blocks.{i}.attn.qkv", 3 * WIDTH, WIDTH)
        w.layer(f"blocks.{i}.attn.proj", WIDTH, WIDTH)
        w.layer(f"blocks.{i}.adaLN_modulation.1", 6 * WIDTH, WIDTH)
    w.layer("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH)
    w.layer("final_layer.linear", places * outputs, WIDTH)
    return w


def dit(s: State, tokens: Tensor, s_time: Tensor, y: Tensor, block: Callable[[str, Tensor, Tensor], Tensor]) -> Tensor:
    """The outputs (B, T, ...) of the last layer but its norm: `block` makes a block, "final_layer" its input."""
    f = torch.exp(-math.log(10_000) * torch.arange(FREQUENCIES // 2) / (FREQUENCIES // 2))
    phases = s_time[:, None] * f
    h = linear(s, "t_embedder.mlp.0", torch.cat([phases.cos(), phases.sin()], 1))
    c = linear(s, "t_embedder.mlp.2", h * torch.sigmoid(h)) + s["y_embedder.embedding_table.weight"][y]
    c = c * torch.sigmoid(c)
    x = tokens + s["pos_embed"]
    for i in range(DEPTH):
        x = block(f"blocks.{i}", x, c)
    shift, scale = linear(s, "final_layer.adaLN_modulation.1", c)[:, None].chunk(2, -1)
    return linear(s, "final_layer.linear", block("final_layer", x, c) * (1 + scale) + shift)


def sit_block(s: State) -> Callable[[str, Tensor, Tensor], Tensor]:
    def block(name: str, x: Tensor, c: Tensor) -> Tensor:
        if name == "final_layer":
            return normed({}, name, x, 1e-6)
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(s, f"{name}.adaLN_modulation.1", c)[:, None].chunk(6, -1)
        y = normed({}, name, x, 1e-6) * (1 + scale1) + shift1
        x = x + gate1 * linear(s, f"{name}.attn.proj", attend(linear(s, f"{name}.attn.qkv", y), HEADS))
        y = linear(s, f"{name}.mlp.fc1", normed({}, name, x, 1e-6) * (1 + scale2) + shift2)
        y = y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))) / 2
        return x + gate2 * linear(s, f"{name}.mlp.fc2", y)

    return block


def sit_mlps(w: Writer) -> None:
    for i in range(DEPTH):
        w.layer(f"blocks.{i}.mlp.fc1", 4 * WIDTH, WIDTH)
        w.layer(f"blocks.{i}.mlp.fc2", WIDTH, 4 * WIDTH)


def on_grid(s: State, x: Tensor, patch: int) -> Tensor:
    """Latents (B, L, Z) of a grid -> tokens by the convolution."""
    side = math.isqrt(x.shape[1])
    kernel = s["x_embedder.proj.weight"], s["x_embedder.proj.bias"]
    return functional.conv2d(x.mT.unflatten(2, (side, side)), *kernel, stride=patch).flatten(2).mT
