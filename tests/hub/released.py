"""Random weights in released layouts, and small implementations of the released networks, from their formulas.

`CASES` has, for every layout and each of its forms, a state dict and the outputs that its network has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

WIDTH, DEPTH, HEADS, PATCH, SIDE, LENGTH, CHANNELS = 128, 2, 2, 4, 4, 4, 6
N = SIDE * SIDE
State = dict[str, Tensor]


class Writer:
    """Adds random tensors to a state."""

    def __init__(self, seed: int):
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int, std: float = 0.05, mean: float = 0.0) -> None:
        self.state[name] = mean + std * torch.randn(*shape, generator=self.generator)

    def layer(self, name: str, *shape: int) -> None:
        """Weight and bias of a linear layer or a convolution."""
        self.add(f"{name}.weight", *shape, std=math.prod(shape[1:]) ** -0.5)
        self.add(f"{name}.bias", shape[0])

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width, std=0.2, mean=1.0)
        self.add(f"{name}.bias", width, std=0.1)


def images(batch: int = 2, side: int = SIDE * PATCH) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


# Formulas


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].flatten(1).mT + s[f"{name}.bias"]


def normed(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the last axis; gain and bias if there are any."""
    y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return y * s[f"{name}.weight"] + s[f"{name}.bias"] if f"{name}.weight" in s else y


def rms(gain: Tensor, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain


def attend(qkv: Tensor, heads: int, turn: Callable[[Tensor], Tensor] = lambda q: q) -> Tensor:
    """Attention of (B, T, 3 D), whose queries and keys (B, heads, T, d) are turned."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    scores = turn(q) @ turn(k).mT / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def pixels_last(x: Tensor, side: int) -> Tensor:
    """(B, N, P P C) -> images, with patches in the order (row, column, channel)."""
    patch = math.isqrt(x.shape[-1] // 3) if x.shape[-1] % 3 == 0 else 1
    return grid_of(x, side, patch)


def grid_of(x: Tensor, side: int, patch: int) -> Tensor:
    """(B, N, P P C) -> (B, C, side P, side P)."""
    rows = x.unflatten(-1, (patch, patch, -1)).unflatten(1, (side, side))
    return rows.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


# SoftVQ-VAE and MAETok


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


class Case(NamedTuple):
    """A state, and what its network makes of inputs: of images and latents, or of (x_t, t, y)."""

    state: State
    encode: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    side: int = SIDE * PATCH


def kl() -> Case:
    s = timm_state(0, 2 * CHANNELS).state
    return Case(s, lambda x: timm_encoded(s, x).chunk(2, -1), lambda z: timm_decoded(s, z))


def kl_plain() -> Case:
    s = timm_state(1).state
    return Case(s, lambda x: (timm_encoded(s, x), None), lambda z: timm_decoded(s, z))


def softvq() -> Case:
    w = timm_state(2)
    w.add("quantize.embedding", 2, 16, CHANNELS, std=1.0)
    w.add("quantize.codebook_used", 2, 100)
    w.layer("projection.0", 8, CHANNELS)
    w.add("repa_model.cls_token", 1, 1, WIDTH)
    s = w.state

    def encode(x: Tensor) -> tuple[Tensor, None]:
        h, books = timm_encoded(s, x), s["quantize.embedding"]
        rows = []
        for i in range(LENGTH):
            book = functional.normalize(books[i // (LENGTH // 2)], dim=-1)
            rows.append((functional.normalize(h[:, i], dim=-1) @ book.mT / 0.07).softmax(-1) @ book)
        return torch.stack(rows, 1), None

    return Case(s, encode, lambda z: timm_decoded(s, z))


def maetok(modulated: bool = True) -> Case:
    w = timm_state(3, class_token=False, modulated=modulated)
    for half in ("encoder", "decoder"):
        w.add(f"{half}.freqs", 2, DEPTH, WIDTH // 2, std=1.0)
        for axis in ("x", "y"):
            w.add(f"{half}.freqs_t_{axis}", N)
    w.add("encoder.mask_token", 1, 1, WIDTH)
    w.add("decoder_hog.mask_token", 1, 1, 8)
    s = w.state
    return Case(
        s,
        lambda x: (timm_encoded(s, x, mixed(s, "encoder", 1)), None),
        lambda z: timm_decoded(s, z, mixed(s, "decoder", 0)),
    )


# TiTok and l-DeTok


def titok(codes: int = 0) -> Case:
    w, outputs = Writer(4), CHANNELS if codes else 2 * CHANNELS
    w.add("latent_tokens", LENGTH, WIDTH)
    for half in ("encoder", "decoder"):
        w.add(f"{half}.class_embedding", 1, WIDTH)
        w.add(f"{half}.positional_embedding", 1 + N, WIDTH)
        w.add(f"{half}.latent_token_positional_embedding", LENGTH, WIDTH)
        for i in range(DEPTH):
            block = f"{half}.transformer.{i}"
            w.norm(f"{block}.ln_1", WIDTH)
            w.layer(f"{block}.attn.in_proj", 3 * WIDTH, WIDTH)
            for kind in ("weight", "bias"):
                w.state[f"{block}.attn.in_proj_{kind}"] = w.state.pop(f"{block}.attn.in_proj.{kind}")
            w.layer(f"{block}.attn.out_proj", WIDTH, WIDTH)
            w.norm(f"{block}.ln_2", WIDTH)
            w.layer(f"{block}.mlp.c_fc", 4 * WIDTH, WIDTH)
            w.layer(f"{block}.mlp.c_proj", WIDTH, 4 * WIDTH)
        w.norm(f"{half}.ln_pre", WIDTH)
        w.norm(f"{half}.ln_post", WIDTH)
    w.layer("encoder.patch_embed", WIDTH, 3, PATCH, PATCH)
    w.layer("encoder.conv_out", outputs, WIDTH, 1, 1)
    w.layer("decoder.decoder_embed", WIDTH, CHANNELS)
    w.add("decoder.mask_token", 1, 1, WIDTH)
    w.layer("decoder.ffn.0", 3 * PATCH**2, WIDTH, 1, 1)
    w.layer("decoder.conv_out", 3, 3, 3, 3)
    if codes:
        w.add("quantize.embedding.weight", codes, CHANNELS, std=1.0)
    s = w.state

    def blocks(half: str, x: Tensor) -> Tensor:
        x = normed(s, f"{half}.ln_pre", x, 1e-5)
        for i in range(DEPTH):
            block = f"{half}.transformer.{i}"
            y = normed(s, f"{block}.ln_1", x, 1e-5)
            qkv = y @ s[f"{block}.attn.in_proj_weight"].mT + s[f"{block}.attn.in_proj_bias"]
            x = x + linear(s, f"{block}.attn.out_proj", attend(qkv, HEADS))
            y = normed(s, f"{block}.ln_2", x, 1e-5)
            x = x + linear(s, f"{block}.mlp.c_proj", gelu(linear(s, f"{block}.mlp.c_fc", y)))
        return normed(s, f"{half}.ln_post", x, 1e-5)

    def sequence(half: str, tokens: Tensor, own: Tensor) -> Tensor:
        tokens = torch.cat([s[f"{half}.class_embedding"].expand(len(tokens), 1, -1), tokens], 1)
        own = own + s[f"{half}.latent_token_positional_embedding"]
        return torch.cat([tokens + s[f"{half}.positional_embedding"], own], 1)

    def encode(x: Tensor) -> tuple[Tensor, Tensor | None]:
        kernel = s["encoder.patch_embed.weight"], s["encoder.patch_embed.bias"]
        tokens = functional.conv2d((x + 1) / 2, *kernel, stride=PATCH).flatten(2).mT
        h = blocks("encoder", sequence("encoder", tokens, s["latent_tokens"].expand(len(x), -1, -1)))[:, -LENGTH:]
        z = linear(s, "encoder.conv_out", h)
        if not codes:
            mean, log_variance = z.chunk(2, -1)
            return mean, log_variance
        book = s["quantize.embedding.weight"]
        return book[torch.cdist(z, book[None]).argmin(-1)], None

    def decode(z: Tensor) -> Tensor:
        tokens = s["decoder.mask_token"].expand(len(z), N, -1)
        h = blocks("decoder", sequence("decoder", tokens, linear(s, "decoder.decoder_embed", z)))[:, 1 : 1 + N]
        image = pixels_last(linear(s, "decoder.ffn.0", h), SIDE)
        kernel = s["decoder.conv_out.weight"], s["decoder.conv_out.bias"]
        return 2 * functional.conv2d(image, *kernel, padding=1) - 1

    return Case(s, encode, decode)


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


# Convolutional autoencoders

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
        groups = x.unflatten(1, (32, -1))
        mean, var = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), correction=0, keepdim=True)
        y = ((groups - mean) / (var + 1e-6).sqrt()).flatten(1, 2)
        y = y * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]
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
    case = convolutional(6, (False, False))
    state = {in_diffusers(name): tensor for name, tensor in case.state.items() if not name.startswith("loss.")}
    flat = {name: t.flatten(1) if "attentions" in name and t.ndim == 4 else t for name, t in state.items()}
    return case._replace(state=flat)


def sd_vae_in_a_model() -> Case:
    case = convolutional(6, (False, False))
    inside = {f"first_stage_model.{name}": tensor for name, tensor in case.state.items()}
    return case._replace(state=inside | {"model.diffusion_model.out.0.bias": torch.zeros(3), "betas": torch.zeros(9)})


# Generators

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


def sit_on_a_line() -> Case:
    w = dit_state(7, "x_embedder", None, CHANNELS, CHANNELS, LENGTH)
    sit_mlps(w)
    s = w.state
    return Case(s, velocity=lambda x, t, y: dit(s, linear(s, "x_embedder", x), t, y, sit_block(s)))


def on_grid(s: State, x: Tensor, patch: int) -> Tensor:
    """Latents (B, L, Z) of a grid -> tokens by the convolution."""
    side = math.isqrt(x.shape[1])
    kernel = s["x_embedder.proj.weight"], s["x_embedder.proj.bias"]
    return functional.conv2d(x.mT.unflatten(2, (side, side)), *kernel, stride=patch).flatten(2).mT


def sit() -> Case:
    """SiT on patches of 2 x 2 places; it has a variance too, which nobody reads, and runs from noise to data."""
    w = dit_state(8, "x_embedder.proj", 2, CHANNELS, 2 * CHANNELS, N)
    sit_mlps(w)
    s = w.state

    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out = grid_of(dit(s, on_grid(s, x, 2), 1 - t, y, sit_block(s)), SIDE, 2)
        return -out[:, :CHANNELS].flatten(2).mT

    return Case(s, velocity=velocity)


def repa() -> Case:
    w = dit_state(9, "x_embedder.proj", 2, CHANNELS, CHANNELS, N)
    sit_mlps(w)
    w.layer("projectors.0.0", 8, WIDTH)
    s = w.state
    return Case(
        s,
        velocity=lambda x, t, y: grid_of(dit(s, on_grid(s, x, 2), t, y, sit_block(s)), SIDE, 2).flatten(2).mT,
    )


def lightningdit(qk_norm: bool = False) -> Case:
    w, hidden, head = dit_state(10, "x_embedder.proj", 1, CHANNELS, CHANNELS, N), 8 * WIDTH // 3, WIDTH // HEADS
    for i in range(DEPTH):
        w.layer(f"blocks.{i}.mlp.w12", 2 * hidden, WIDTH)
        w.layer(f"blocks.{i}.mlp.w3", WIDTH, hidden)
        for norm in ("norm1", "norm2"):
            w.add(f"blocks.{i}.{norm}.weight", WIDTH, std=0.2, mean=1.0)
        for norm in ("q_norm", "k_norm") if qk_norm else ():
            w.add(f"blocks.{i}.attn.{norm}.weight", head, std=0.2, mean=1.0)
    w.add("final_layer.norm_final.weight", WIDTH, std=0.2, mean=1.0)
    k = torch.arange(head // 4)
    angle = torch.arange(SIDE)[:, None] * 10_000.0 ** (-k / (head // 4))
    angle = angle.repeat_interleave(2, -1)
    rows, columns = angle[:, None].expand(-1, SIDE, -1), angle[None].expand(SIDE, -1, -1)
    angle = torch.cat([rows, columns], -1).flatten(0, 1)  # (N, d)
    s = w.state | {"feat_rope.freqs_cos": angle.cos(), "feat_rope.freqs_sin": angle.sin()}

    def block(name: str, x: Tensor, c: Tensor) -> Tensor:
        if name == "final_layer":
            return rms(s["final_layer.norm_final.weight"], x)
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(s, f"{name}.adaLN_modulation.1", c)[:, None].chunk(6, -1)
        q, k, v = linear(s, f"{name}.attn.qkv", rms(s[f"{name}.norm1.weight"], x) * (1 + scale1) + shift1).chunk(3, -1)

        def turned(part: Tensor, norm: str) -> Tensor:
            part = part.unflatten(-1, (HEADS, head))
            if qk_norm:
                part = rms(s[f"{name}.attn.{norm}.weight"], part)
            part = part.transpose(1, 2)
            partner = torch.stack([-part[..., 1::2], part[..., ::2]], -1).flatten(-2)
            turned = part * s["feat_rope.freqs_cos"] + partner * s["feat_rope.freqs_sin"]
            return turned.transpose(1, 2).flatten(2)

        out = attend(torch.cat([turned(q, "q_norm"), turned(k, "k_norm"), v], -1), HEADS)
        x = x + gate1 * linear(s, f"{name}.attn.proj", out)
        y = rms(s[f"{name}.norm2.weight"], x) * (1 + scale2) + shift2
        gate, value = linear(s, f"{name}.mlp.w12", y).chunk(2, -1)
        return x + gate2 * linear(s, f"{name}.mlp.w3", gate * torch.sigmoid(gate) * value)

    return Case(s, velocity=lambda x, t, y: -dit(s, on_grid(s, x, 1), 1 - t, y, block))


CASES: dict[str, Callable[[], Case]] = {  # the first word is the layout
    "kl": kl,
    "kl without variance": kl_plain,
    "softvq": softvq,
    "maetok": maetok,
    "maetok with a plain decoder": lambda: maetok(modulated=False),
    "titok": titok,
    "titok with codes": lambda: titok(codes=16),
    "detok": detok,
    "va_vae": lambda: convolutional(11, (True, True)),
    "mar_vae": lambda: convolutional(12, (True, False)),
    "sd_vae": lambda: convolutional(6, (False, False)),
    "sd_vae in diffusers": sd_vae_in_diffusers,
    "sd_vae in a model": sd_vae_in_a_model,
    "sit": sit,
    "sit on a line": sit_on_a_line,
    "repa": repa,
    "lightningdit": lightningdit,
    "lightningdit with norms of queries": lambda: lightningdit(qk_norm=True),
}
