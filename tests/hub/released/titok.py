"""TiTok."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import attend, gelu, linear, normed, pixels_last
from tests.hub.layouts.maskgit_vqgan import CODES, maskgit_vqgan
from tests.hub.layouts.maskgit_vqgan import pixels as pixels_of_codes
from tests.hub.layouts.writer import CHANNELS, DEPTH, HEADS, LENGTH, PATCH, SIDE, WIDTH, Case, N, Writer


def written(codes: int, two_stages: bool) -> dict[str, Tensor]:
    """Random tensors under the released names."""
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
    if two_stages:
        w.layer("decoder.ffn.0", 2 * WIDTH, WIDTH, 1, 1)
        w.layer("decoder.ffn.2", CODES, 2 * WIDTH, 1, 1)
        maskgit_vqgan(w)
    else:
        w.layer("decoder.ffn.0", 3 * PATCH**2, WIDTH, 1, 1)
        w.layer("decoder.conv_out", 3, 3, 3, 3)
    if codes:
        w.add("quantize.embedding.weight", codes, CHANNELS, std=1.0)
    return w.state


def titok(codes: int = 0, two_stages: bool = False) -> Case:
    s = written(codes, two_stages)

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
        if two_stages:  # number i of the output, in row order, is number i // L of latent i % L
            h = torch.stack([h.flatten(1)[:, latent::LENGTH] for latent in range(LENGTH)], 1)
        z = linear(s, "encoder.conv_out", h)
        if not codes:
            mean, log_variance = z.chunk(2, -1)
            return mean, log_variance
        book = s["quantize.embedding.weight"]
        if two_stages:
            z, book = (x / x.square().sum(-1, keepdim=True).sqrt() for x in (z, book))
        return book[torch.cdist(z, book[None]).argmin(-1)], None

    def decode(z: Tensor) -> Tensor:
        tokens = s["decoder.mask_token"].expand(len(z), N, -1)
        h = blocks("decoder", sequence("decoder", tokens, linear(s, "decoder.decoder_embed", z)))[:, 1 : 1 + N]
        if two_stages:
            logits = linear(s, "decoder.ffn.2", linear(s, "decoder.ffn.0", h).tanh())
            return 2 * pixels_of_codes(s, logits.mT.unflatten(2, (SIDE, SIDE))) - 1
        image = pixels_last(linear(s, "decoder.ffn.0", h), SIDE)
        kernel = s["decoder.conv_out.weight"], s["decoder.conv_out.bias"]
        return 2 * functional.conv2d(image, *kernel, padding=1) - 1

    return Case(s, encode, decode)


CASES = {
    "titok": titok,
    "titok with codes": lambda: titok(codes=16),
    "titok in two stages": lambda: titok(codes=16, two_stages=True),
}
