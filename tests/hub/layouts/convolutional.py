"""The convolutional autoencoder of latent diffusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import group_normed
from tests.hub.layouts.writer import CHANNELS, Case, Writer

LEVELS, BASE, BLOCKS, SMALL = (1, 2), 32, 2, 16  # multipliers of the base width, blocks of a level, image side in px


def convolutional(seed: int, attends: tuple[bool, bool]) -> Case:
    w = Writer(seed)

    def residual(name: str, inputs: int, outputs: int) -> None:
        w.norm(f"{name}.norm1", inputs)
        w.layer(f"{name}.conv1", outputs, inputs, 3, 3)
        w.norm(f"{name}.norm2", outputs)
        w.layer(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            w.layer(f"{name}.nin_shortcut", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> None:
        w.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            w.layer(f"{name}.{part}", width, width, 1, 1)

    widths, last = [BASE * m for m in LEVELS], len(LEVELS) - 1
    for half in ("encoder", "decoder"):
        for number in (1, 2):
            residual(f"{half}.mid.block_{number}", widths[-1], widths[-1])
        attention(f"{half}.mid.attn_1", widths[-1])
    w.layer("encoder.conv_in", BASE, 3, 3, 3)
    before = BASE
    for i, width in enumerate(widths):
        for j in range(BLOCKS):
            residual(f"encoder.down.{i}.block.{j}", before, width)
            before = width
            if attends[0] and i == last:
                attention(f"encoder.down.{i}.attn.{j}", width)
        if i < last:
            w.layer(f"encoder.down.{i}.downsample.conv", width, width, 3, 3)
    w.norm("encoder.norm_out", before)
    w.layer("encoder.conv_out", 2 * CHANNELS, before, 3, 3)
    w.layer("quant_conv", 2 * CHANNELS, 2 * CHANNELS, 1, 1)
    w.layer("post_quant_conv", CHANNELS, CHANNELS, 1, 1)
    w.layer("decoder.conv_in", widths[-1], CHANNELS, 3, 3)
    for i, width in reversed(list(enumerate(widths))):
        for j in range(BLOCKS + 1):
            residual(f"decoder.up.{i}.block.{j}", before, width)
            before = width
            if attends[1] and i == last:
                attention(f"decoder.up.{i}.attn.{j}", width)
        if i:
            w.layer(f"decoder.up.{i}.upsample.conv", width, width, 3, 3)
    w.norm("decoder.norm_out", before)
    w.layer("decoder.conv_out", 3, before, 3, 3)
    w.add("loss.logvar", 1)
    s = w.state

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return functional.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], **options)

    def activated(name: str, x: Tensor) -> Tensor:
        y = group_normed(s, name, x)
        return y * torch.sigmoid(y) if "attn" not in name else y

    def residual_of(name: str, x: Tensor) -> Tensor:
        h = conv(f"{name}.conv1", activated(f"{name}.norm1", x), padding=1)
        h = conv(f"{name}.conv2", activated(f"{name}.norm2", h), padding=1)
        return h + (conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in s else x)

    def attention_of(name: str, x: Tensor) -> Tensor:
        if f"{name}.q.weight" not in s:
            return x
        y = activated(f"{name}.norm", x)
        q, k, v = (conv(f"{name}.{part}", y).flatten(2) for part in ("q", "k", "v"))
        weights = (q.mT @ k / math.sqrt(q.shape[1])).softmax(-1)
        return x + conv(f"{name}.proj_out", (v @ weights.mT).unflatten(2, x.shape[2:]))

    def middle(half: str, h: Tensor) -> Tensor:
        h = attention_of(f"{half}.mid.attn_1", residual_of(f"{half}.mid.block_1", h))
        return residual_of(f"{half}.mid.block_2", h)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        h = conv("encoder.conv_in", x, padding=1)
        for i in range(len(LEVELS)):
            for j in range(BLOCKS):
                h = residual_of(f"encoder.down.{i}.block.{j}", h)
                h = attention_of(f"encoder.down.{i}.attn.{j}", h)
            if i < last:
                h = conv(f"encoder.down.{i}.downsample.conv", functional.pad(h, (0, 1, 0, 1)), stride=2)
        h = activated("encoder.norm_out", middle("encoder", h))
        moments = conv("quant_conv", conv("encoder.conv_out", h, padding=1)).flatten(2).mT
        mean, log_variance = moments.chunk(2, -1)
        return mean, log_variance

    def decode(z: Tensor) -> Tensor:
        side = math.isqrt(z.shape[1])
        h = conv("decoder.conv_in", conv("post_quant_conv", z.mT.unflatten(2, (side, side))), padding=1)
        h = middle("decoder", h)
        for i in reversed(range(len(LEVELS))):
            for j in range(BLOCKS + 1):
                h = residual_of(f"decoder.up.{i}.block.{j}", h)
                h = attention_of(f"decoder.up.{i}.attn.{j}", h)
            if i:
                h = conv(f"decoder.up.{i}.upsample.conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3), padding=1)
        return conv("decoder.conv_out", activated("decoder.norm_out", h), padding=1)

    return Case(s, encode, decode, side=SMALL)
