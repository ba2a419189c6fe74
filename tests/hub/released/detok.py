"""l-DeTok."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import attend, linear, pixels_last, rms
from tests.hub.layouts.writer import CHANNELS, DEPTH, HEADS, PATCH, SIDE, WIDTH, Case, N, Writer


def detok() -> Case:
    w, hidden = Writer(5), 8 * WIDTH // 3
    for half in ("encoder", "decoder"):
        w.add(f"{half}.positional_embedding", 1, N, WIDTH)
        for i in range(DEPTH):
            block = f"{half}.transformer.{i}"
            for norm in ("norm1", "norm2"):
                w.add(f"{block}.{norm}.weight", WIDTH, std=0.2, mean=1.0)
            w.layer(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
            w.layer(f"{block}.attn.proj", WIDTH, WIDTH)
            w.layer(f"{block}.mlp.w12", 2 * hidden, WIDTH)
            w.layer(f"{block}.mlp.w3", WIDTH, hidden)
        for norm in ("ln_pre", "ln_post"):
            w.add(f"{half}.{norm}.weight", WIDTH, std=0.2, mean=1.0)
    w.layer("encoder.patch_embed.0", WIDTH, 3, PATCH, PATCH)
    w.layer("encoder.latent_head", 2 * CHANNELS, WIDTH)
    w.layer("decoder.decoder_embed", WIDTH, CHANNELS)
    w.add("decoder.mask_token", 1, 1, WIDTH)
    w.layer("decoder.ffn.1", 3 * PATCH**2, WIDTH, 1, 1)
    w.layer("decoder.conv_out", 3, 3, 3, 3)
    s = w.state

    head = WIDTH // HEADS
    k = torch.arange(head // 4)
    f = 2 * math.pi * 7 * (7 / 7e-4) ** (-k / (head // 4 - 1))
    place = torch.linspace(0, 1, SIDE)
    by_row, by_column = ((place[:, None] * torch.cat([f, f])) for _ in range(2))
    rows, columns = by_row[:, None].expand(-1, SIDE, -1), by_column[None].expand(SIDE, -1, -1)
    angle = torch.cat([rows, columns], -1).flatten(0, 1)  # (N, d)

    def turn(q: Tensor) -> Tensor:
        partner = torch.empty_like(q)
        partner[..., ::2], partner[..., 1::2] = -q[..., 1::2], q[..., ::2]
        return q * angle.cos() + partner * angle.sin()

    def blocks(half: str, x: Tensor) -> Tensor:
        x = rms(s[f"{half}.ln_pre.weight"], x)
        for i in range(DEPTH):
            block = f"{half}.transformer.{i}"
            qkv = linear(s, f"{block}.attn.qkv", rms(s[f"{block}.norm1.weight"], x))
            x = x + linear(s, f"{block}.attn.proj", attend(qkv, HEADS, turn))
            gate, value = linear(s, f"{block}.mlp.w12", rms(s[f"{block}.norm2.weight"], x)).chunk(2, -1)
            x = x + linear(s, f"{block}.mlp.w3", gate * torch.sigmoid(gate) * value)
        return rms(s[f"{half}.ln_post.weight"], x)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        kernel = s["encoder.patch_embed.0.weight"], s["encoder.patch_embed.0.bias"]
        tokens = functional.conv2d(x, *kernel, stride=PATCH).flatten(2).mT + s["encoder.positional_embedding"]
        mean, log_variance = linear(s, "encoder.latent_head", blocks("encoder", tokens)).chunk(2, -1)
        return mean, log_variance

    def decode(z: Tensor) -> Tensor:
        h = blocks("decoder", linear(s, "decoder.decoder_embed", z) + s["decoder.positional_embedding"])
        image = pixels_last(linear(s, "decoder.ffn.1", h), SIDE)
        return functional.conv2d(image, s["decoder.conv_out.weight"], s["decoder.conv_out.bias"], padding=1)

    return Case(s, encode, decode)


CASES = {"detok": detok}
