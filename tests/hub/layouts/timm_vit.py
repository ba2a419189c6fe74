"""The two ViTs of SoftVQ-VAE and MAETok."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import attend, gelu, linear, normed, pixels_last
from tests.hub.layouts.writer import CHANNELS, DEPTH, HEADS, LENGTH, PATCH, SIDE, WIDTH, N, State, Writer


def timm_half(w: Writer, half: str, absolute: bool = True, class_token: bool = True, modulated: bool = False) -> None:
    """What both halves have; the decoder has a patch embedding too, which nobody reads."""
    model = f"{half}.model"
    w.layer(f"{model}.patch_embed.proj", WIDTH, 3, PATCH, PATCH)
    w.add(f"{model}.pos_embed", 1, 1 + N, WIDTH)
    if class_token:
        w.add(f"{model}.cls_token", 1, 1, WIDTH)
    w.add(f"{half}.latent_pos_embed", 1, LENGTH, WIDTH)
    for i in range(DEPTH):
        block = f"{model}.blocks.{i}"
        for number in (1, 2):
            if modulated:
                continue
            w.norm(f"{block}.norm{number}", WIDTH)
            w.add(f"{block}.ls{number}.gamma", WIDTH, std=0.2, mean=0.3)
        w.layer(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        w.layer(f"{block}.attn.proj", WIDTH, WIDTH)
        w.layer(f"{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        w.layer(f"{block}.mlp.fc2", WIDTH, 4 * WIDTH)
        if modulated:
            w.layer(f"{block}.adaLN_modulation.1", 4 * WIDTH, CHANNELS)
    if modulated:
        w.layer(f"{model}.norm.adaLN_modulation.1", 2 * WIDTH, CHANNELS)
    else:
        w.norm(f"{model}.norm", WIDTH)


def timm_state(seed: int, latents: int = CHANNELS, **decoder: bool) -> Writer:
    w = Writer(seed)
    timm_half(w, "encoder")
    timm_half(w, "decoder", **decoder)
    w.add("encoder.latent_tokens", 1, LENGTH, WIDTH)
    w.add("decoder.mask_token", 1, 1, WIDTH)
    w.layer("quant_conv", latents, WIDTH)
    w.layer("post_quant_conv", WIDTH, CHANNELS)
    w.layer("decoder.to_pixel.model", 3 * PATCH**2, WIDTH)
    return w


def timm_blocks(
    s: State, half: str, x: Tensor, turns: Callable[[int], Callable[[Tensor], Tensor]], z: Tensor | None = None
) -> Tensor:
    """Blocks and last norm; z (B, L, Z) modulates the norms at the last L places where there are layers for it."""

    def modulated(y: Tensor, block: str, which: int) -> Tensor:
        name = f"{block}.adaLN_modulation.1"
        if f"{name}.weight" not in s:
            return y
        shift, scale = linear(s, name, z * torch.sigmoid(z)).split(WIDTH, -1)[2 * which : 2 * which + 2]
        return torch.cat([y[:, :-LENGTH], y[:, -LENGTH:] * scale + shift], 1)

    for i in range(DEPTH):
        block = f"{half}.model.blocks.{i}"
        gamma1, gamma2 = (s.get(f"{block}.ls{number}.gamma", torch.tensor(1.0)) for number in (1, 2))
        y = modulated(normed(s, f"{block}.norm1", x, 1e-6), block, 0)
        x = x + gamma1 * linear(s, f"{block}.attn.proj", attend(linear(s, f"{block}.attn.qkv", y), HEADS, turns(i)))
        y = modulated(normed(s, f"{block}.norm2", x, 1e-6), block, 1)
        x = x + gamma2 * linear(s, f"{block}.mlp.fc2", gelu(linear(s, f"{block}.mlp.fc1", y)))
    return normed(s, f"{half}.model.norm", x, 1e-6)


def unturned(_: int) -> Callable[[Tensor], Tensor]:
    return lambda q: q


def timm_encoded(s: State, x: Tensor, turns: Callable[[int], Callable[[Tensor], Tensor]] = unturned) -> Tensor:
    proj = "encoder.model.patch_embed.proj"
    tokens = functional.conv2d(x, s[f"{proj}.weight"], s[f"{proj}.bias"], stride=PATCH).flatten(2).mT
    tokens = torch.cat([s["encoder.model.cls_token"].expand(len(x), -1, -1), tokens], 1) + s["encoder.model.pos_embed"]
    own = (s["encoder.latent_tokens"] + s["encoder.latent_pos_embed"]).expand(len(x), -1, -1)
    h = timm_blocks(s, "encoder", torch.cat([tokens, own], 1), turns)
    return linear(s, "quant_conv", h[:, -LENGTH:])


def timm_decoded(s: State, z: Tensor, turns: Callable[[int], Callable[[Tensor], Tensor]] | None = None) -> Tensor:
    tokens, before = s["decoder.mask_token"].expand(len(z), N, -1), int("decoder.model.cls_token" in s)
    if before:
        tokens = torch.cat([s["decoder.model.cls_token"].expand(len(z), -1, -1), tokens], 1)
    if turns is None:
        tokens = tokens + s["decoder.model.pos_embed"]
    own = linear(s, "post_quant_conv", z) + s["decoder.latent_pos_embed"]
    h = timm_blocks(s, "decoder", torch.cat([tokens, own], 1), turns or unturned, z)
    return pixels_last(linear(s, "decoder.to_pixel.model", h[:, before : before + N]), SIDE)


def mixed(s: State, half: str, before: int) -> Callable[[int], Callable[[Tensor], Tensor]]:
    """Rotations of image tokens by f_x column + f_y row, as complex numbers."""
    place = torch.arange(N)
    grid = torch.stack([place % SIDE, place // SIDE]).float()

    def of_block(i: int) -> Callable[[Tensor], Tensor]:
        f_x, f_y = s[f"{half}.freqs"][:, i].unflatten(-1, (HEADS, -1))
        angle = f_x[:, None] * grid[0, :, None] + f_y[:, None] * grid[1, :, None]  # (heads, N, d/2)

        def turn(q: Tensor) -> Tensor:
            image = torch.view_as_complex(q[:, :, before : before + N].unflatten(-1, (-1, 2)).contiguous())
            turned = torch.view_as_real(image * torch.exp(1j * angle)).flatten(-2)
            return torch.cat([q[:, :, :before], turned, q[:, :, before + N :]], 2)

        return turn

    return of_block
