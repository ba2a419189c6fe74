"""Parameters and FLOPs of layers, from sizes only: no torch.

A multiplication and an addition count as two. Only matrix products, convolutions and attention count, as in
torch.utils.flop_counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.config import ProxyCodes, Tokenizer, Transformer
from models.forms import Latents, on_coarse_grid


class Cost(NamedTuple):
    """Weights and biases of some layers, and the FLOPs of a forward pass for one image."""

    parameters: int = 0
    flops: float = 0.0

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.parameters + other.parameters, self.flops + other.flops)

    def times(self, count: int) -> Cost:
        """The cost of `count` such layers, each with weights of its own."""
        return Cost(count * self.parameters, count * self.flops)


def learned(*shape: int) -> Cost:
    """Parameters that no product uses: learned tokens, positions, norms."""
    count = 1
    for length in shape:
        count *= length
    return Cost(count)


def linear(tokens: int, inputs: int, outputs: int, bias: bool = True) -> Cost:
    """A linear layer on `tokens` tokens."""
    return Cost((inputs + bias) * outputs, 2.0 * tokens * inputs * outputs)


def convolution(side: int, inputs: int, outputs: int, kernel: int, bias: bool = True) -> Cost:
    """A convolution whose result has `side` x `side` places."""
    return linear(side * side, inputs * kernel * kernel, outputs, bias)


def block(width: int, tokens: int, read: int | None = None, gated: bool = False, norm: int | None = None) -> Cost:
    """A transformer block on `tokens` tokens, whose result has `read` of them, all by default.

    `gated`: SwiGLU in place of two layers. `norm` is the number of parameters of a norm, by default 2 D, with gain and
    bias, or D if it is gated.
    """
    read = tokens if read is None else read
    qkv, proj = linear(read, width, width) + linear(tokens, width, 2 * width), linear(read, width, width)
    attention = Cost(0, 4.0 * read * tokens * width)
    if gated:
        inner = 8 * width // 3
        mlp = linear(read, width, 2 * inner) + linear(read, inner, width)
    else:
        mlp = linear(read, width, 4 * width) + linear(read, 4 * width, width)
    return qkv + attention + proj + mlp + norms(width, 2, gated, norm)


def norms(width: int, count: int, gated: bool = False, norm: int | None = None) -> Cost:
    """`count` norms."""
    return learned(count, norm if norm is not None else width if gated else 2 * width)


def blocks(
    size: Transformer, tokens: int, read: int | None = None, gated: bool = False, norm: int | None = None
) -> Cost:
    """Blocks and a final norm; the last block computes only the `read` tokens, and keys and values of all."""
    full, last = (block(size.width, tokens, part, gated, norm) for part in (None, read))
    return full.times(size.depth - 1) + last + norms(size.width, 1, gated, norm)


# Tokenizers


class Halves(NamedTuple):
    """The cost of an encoder and of a decoder."""

    encoder: Cost
    decoder: Cost


def bottleneck(tokenizer: Tokenizer, form: Latents, width: int) -> Cost:
    """What turns the encoder's output of some width into latents, with codes if there are any."""
    soft, hard = tokenizer.soft_codes, tokenizer.codes
    total = linear(form.tokens, width, form.channels).times(2 if tokenizer.gaussian.on else 1)
    if soft.on:
        looked_up = linear(form.tokens, soft.codes, form.channels, bias=False).flops
        total += Cost(soft.codebooks * soft.codes * form.channels, 2 * looked_up)
    if hard.on:
        total += linear(form.tokens, hard.codes, form.channels, bias=False)
    return total


def vit_1d(
    tokenizer: Tokenizer,
    image_size: int,
    class_tokens: tuple[bool, bool] = (False, False),
    absolute: bool = True,
    smooth: bool = False,
    normed: bool = False,
    to_pixels: Cost | None = None,
) -> Halves:
    """The cost of `ViT1D` with the same options; `normed`: its transformers are `NormedBlocks`.

    `to_pixels` is the cost of what makes pixels of the decoder's output, if it is no linear layer.
    """
    n, length, pixels = tokenizer.image_tokens(image_size), tokenizer.tokens, 3 * tokenizer.patch_size**2
    e, d = tokenizer.encoder, tokenizer.decoder
    of_encoder, of_decoder = (int(more) for more in class_tokens)

    encoder = linear(n, pixels, e.width) + blocks(e, n + length + of_encoder, length)
    encoder += learned(length + n * absolute + of_encoder + tokenizer.replaces + 2 * normed, e.width)
    encoder += bottleneck(tokenizer, Latents(length, tokenizer.channels), e.width)

    decoder = linear(length, tokenizer.channels, d.width) + blocks(d, n + length + of_decoder, n)
    decoder += to_pixels or linear(n, d.width, pixels)
    decoder += learned((n + length) * absolute + (not absolute) + of_decoder, d.width)
    decoder += learned(2 * normed, d.width) + learned(tokenizer.latent_masking.on * tokenizer.channels)
    return Halves(encoder, decoder + smoothing(image_size) if smooth else decoder)


def convolutional(tokenizer: Tokenizer, image_size: int, attends: tuple[bool, bool]) -> Halves:
    """The cost of `models.autoencoders.convolutional.Convolutional`."""
    size, form = tokenizer.convolution, on_coarse_grid(tokenizer, image_size)
    side, widths, last = image_size, size.widths, len(size.widths) - 1
    moments = (2 if tokenizer.gaussian.on else 1) * form.channels
    encoder, before = convolution(side, 3, size.width, 3), size.width
    for number, width in enumerate(widths):
        encoder += _level(side, before, width, size.blocks, attends[0] and number == last)
        if number < last:
            side //= 2
            encoder += convolution(side, width, width, 3)
        before = width
    encoder += _middle(side, before) + _group_norm(before) + convolution(side, before, moments, 3)
    encoder += bottleneck(tokenizer, form, moments)

    decoder = linear(form.tokens, form.channels, form.channels) + convolution(side, form.channels, before, 3)
    decoder += _middle(side, before) + _to_image(side, widths[::-1], size.blocks + 1, attends[1])
    return Halves(encoder, decoder)


def proxy_decoder(proxy: ProxyCodes, side: int, width: int) -> Cost:
    """The cost of `models.autoencoders.proxy_codes.ProxyDecoder` on `side` x `side` outputs of some width."""
    n, coarsest = side**2, proxy.widths[-1]
    total = linear(n, width, 2 * width) + linear(n, 2 * width, proxy.codes)
    total += linear(n, proxy.codes, proxy.channels, bias=False) + convolution(side, proxy.channels, coarsest, 3)
    total += _level(side, coarsest, coarsest, proxy.blocks, False)
    return total + _to_image(side, proxy.widths[::-1], proxy.blocks, False)


def _to_image(side: int, widths: Sequence[int], blocks: int, attends: bool) -> Cost:
    """Levels from the coarsest to the finest, and the layers that end a decoder; whether the coarsest attends."""
    total, before = Cost(), widths[0]
    for number, width in enumerate(widths):
        total += _level(side, before, width, blocks, attends and number == 0)
        if number < len(widths) - 1:
            side *= 2
            total += convolution(side, width, width, 3)
        before = width
    return total + _group_norm(before) + convolution(side, before, 3, 3)


def _level(side: int, inputs: int, outputs: int, count: int, attends: bool) -> Cost:
    total = _residual(side, inputs, outputs) + _residual(side, outputs, outputs).times(count - 1)
    return total + _attention(side, outputs).times(count) if attends else total


def _middle(side: int, width: int) -> Cost:
    return _residual(side, width, width).times(2) + _attention(side, width)


def _residual(side: int, inputs: int, outputs: int) -> Cost:
    shortcut = convolution(side, inputs, outputs, 1) if inputs != outputs else Cost()
    convolutions = convolution(side, inputs, outputs, 3) + convolution(side, outputs, outputs, 3)
    return convolutions + shortcut + _group_norm(inputs) + _group_norm(outputs)


def _attention(side: int, width: int) -> Cost:
    products = linear(side**2, width, 3 * width) + linear(side**2, width, width)
    return products + Cost(0, 4.0 * side**4 * width) + _group_norm(width)


def _group_norm(width: int) -> Cost:
    return learned(2, width)


def smoothing(image_size: int) -> Cost:
    """The convolution that follows a decoder's patches."""
    return linear(image_size**2, 9 * 3, 3)
