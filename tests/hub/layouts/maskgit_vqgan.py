"""The codes and the decoder of MaskGIT-VQGAN."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.formulas import group_normed
from tests.hub.layouts.writer import State, Writer

WIDTHS, BLOCKS, CODES, NUMBERS = (32, 64, 64), 2, 24, 10  # of levels, the finest first; of a code


def maskgit_vqgan(w: Writer) -> None:
    """Adds the tensors; convolutions of residual blocks have no biases."""

    def residual(name: str, inputs: int, outputs: int) -> None:
        for number, channels in ((1, inputs), (2, outputs)):
            w.norm(f"{name}.norm{number}", channels)
            w.kernel(f"{name}.conv{number}", outputs, channels, 3, 3)
        if inputs != outputs:
            w.kernel(f"{name}.nin_shortcut", outputs, outputs, 1, 1)

    w.add("pixel_quantize.embedding.weight", CODES, NUMBERS, std=1.0)
    w.layer("pixel_decoder.conv_in", WIDTHS[-1], NUMBERS, 3, 3)
    for j in range(BLOCKS):
        residual(f"pixel_decoder.mid.{j}", WIDTHS[-1], WIDTHS[-1])
    before = WIDTHS[-1]
    for i, width in reversed(list(enumerate(WIDTHS))):
        for j in range(BLOCKS):
            residual(f"pixel_decoder.up.{i}.block.{j}", before, width)
            before = width
        if i:
            w.layer(f"pixel_decoder.up.{i}.upsample_conv", width, width, 3, 3)
    w.norm("pixel_decoder.norm_out", before)
    w.layer("pixel_decoder.conv_out", 3, before, 3, 3)


def pixels(s: State, logits: Tensor) -> Tensor:
    """Images in [0, 1] of logits (B, codes, h, w) over the codes, which are mixed by their softmax."""
    book = s["pixel_quantize.embedding.weight"]
    h = conv(s, "conv_in", (logits.softmax(1)[:, :, None] * book[..., None, None]).sum(1))
    for j in range(BLOCKS):
        h = residual_of(s, f"mid.{j}", h)
    for i in reversed(range(len(WIDTHS))):
        for j in range(BLOCKS):
            h = residual_of(s, f"up.{i}.block.{j}", h)
        if i:
            h = conv(s, f"up.{i}.upsample_conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
    return conv(s, "conv_out", activated(s, "norm_out", h))


def residual_of(s: State, name: str, x: Tensor) -> Tensor:
    """Where widths differ, the shortcut is of the block's own result, and x is dropped."""
    h = conv(s, f"{name}.conv1", activated(s, f"{name}.norm1", x))
    h = conv(s, f"{name}.conv2", activated(s, f"{name}.norm2", h))
    return h + (x if x.shape == h.shape else conv(s, f"{name}.nin_shortcut", h))


def conv(s: State, name: str, x: Tensor) -> Tensor:
    kernel, bias = s[f"pixel_decoder.{name}.weight"], s.get(f"pixel_decoder.{name}.bias")
    return functional.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)


def activated(s: State, name: str, x: Tensor) -> Tensor:
    y = group_normed(s, f"pixel_decoder.{name}", x)
    return y / (1 + (-y).exp())
