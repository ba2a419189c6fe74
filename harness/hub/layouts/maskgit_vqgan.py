"""The codes and the decoder of MaskGIT-VQGAN (Chang et al. 2022), as a TiTok in two stages holds them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.hub.checkpoint import Checkpoint, under
from harness.hub.layouts import convolutional
from models.autoencoders.convolutional import Residual
from models.autoencoders.proxy_codes import ProxyDecoder
from models.config import ProxyCodes

CODES = "pixel_quantize.embedding.weight"
DECODER = "pixel_decoder"


def configured(released: Checkpoint) -> ProxyCodes:
    """The sizes that shapes tell."""
    codes, channels = released.shape(CODES, None, None)
    first = f"{DECODER}.up.{{}}.block.0.conv1.weight"
    widths = [released.shape(first.format(i), *[None] * 4)[0] for i in range(released.count(first))]
    blocks = released.count(f"{DECODER}.mid.{{}}.conv1.weight")
    return ProxyCodes(True, codes, channels, widths[0], tuple(w // widths[0] for w in widths), blocks)


def state(released: Checkpoint, proxy: ProxyCodes) -> dict[str, Tensor]:
    """The tensors of a `ProxyDecoder` but those of its logits. Released pixels are in [0, 1]."""
    with torch.device("meta"):  # its modules tell names and shapes; no weights are drawn
        layers = ProxyDecoder(proxy, 1).decoder
    tensors: dict[str, Tensor] = {}
    for number, (name, layer) in enumerate(zip(_names(proxy), layers, strict=True)):
        tensors |= under(f"decoder.{number}", _tensors(released, f"{DECODER}.{name}", layer))
    last = f"decoder.{len(layers) - 1}"
    pixels = {f"{last}.weight": 2 * tensors[f"{last}.weight"], f"{last}.bias": 2 * tensors[f"{last}.bias"] - 1}
    return {**tensors, **pixels, "codes": released.take(CODES, proxy.codes, proxy.channels)}


def _names(proxy: ProxyCodes) -> Iterator[str]:
    """The released names of all layers, in order; levels are counted from the finest, the last."""
    yield "conv_in"
    yield from (f"mid.{i}" for i in range(proxy.blocks))
    for level in reversed(range(len(proxy.widths))):
        yield from (f"up.{level}.block.{i}" for i in range(proxy.blocks))
        if level:
            yield f"up.{level}.upsample_conv"
    yield from ("norm_out", "swish", "conv_out")


def _tensors(released: Checkpoint, name: str, layer: nn.Module) -> dict[str, Tensor]:
    """The tensors of a layer under our names."""
    if isinstance(layer, Residual):
        return _residual(released, name, layer.conv1.in_channels, layer.conv1.out_channels)
    return convolutional.tensors(released, name, layer)


def _residual(released: Checkpoint, name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    """A residual block, whose convolutions have no biases there.

    If it changes the width, its shortcut S reads the result h of the second convolution, not the input: its output is
    h + S h, without the input.
    """
    first = released.take(f"{name}.conv1.weight", outputs, inputs, 3, 3)
    second = released.take(f"{name}.conv2.weight", outputs, outputs, 3, 3)
    state = {
        **under("norm1", released.layer(f"{name}.norm1", inputs)),
        **under("norm2", released.layer(f"{name}.norm2", outputs)),
        "conv1.weight": first,
        **{f"{conv}.bias": torch.zeros(outputs) for conv in ("conv1", "conv2")},
    }
    if inputs != outputs:
        shortcut = released.take(f"{name}.nin_shortcut.weight", outputs, outputs, 1, 1)
        second = second + (shortcut.flatten(1) @ second.flatten(1)).view_as(second)
        state |= {"shortcut.weight": torch.zeros(outputs, inputs, 1, 1), "shortcut.bias": torch.zeros(outputs)}
    return state | {"conv2.weight": second}
