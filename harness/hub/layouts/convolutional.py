"""The convolutional autoencoder of latent diffusion (Esser et al. 2021), by the names of its first code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from harness.hub.checkpoint import Checkpoint, Converted, parted, under
from harness.system.errors import Mistake
from models import tokenizers
from models.autoencoders.convolutional import Attention, Convolutional, Residual
from models.config import SIZES, Convolution, Gaussian, Tokenizer

IMAGE_SIZE = 256  # px, unless the user names another: no tensor tells it
MOST_SIDE = 4096  # of a grid of latents
IGNORED = ("loss.", "model_ema.", "foundation_model.", "linear_proj.")  # read in training alone
MIDDLE = ("mid.block_1", "mid.attn_1", "mid.block_2")
END = ("norm_out", "swish", "conv_out")


def converted(released: Checkpoint, name: str, image_size: int | None) -> Converted:
    """The convolutional tokenizer called `name` in `models.tokenizers`."""
    width = released.shape("encoder.conv_in.weight", None, 3, 3, 3)[0]
    levels = released.count("encoder.down.{}.block.0.conv1.weight")
    widths = [released.shape(f"encoder.down.{i}.block.0.conv1.weight", *[None] * 4)[0] for i in range(levels)]
    blocks = released.count("encoder.down.0.block.{}.conv1.weight")
    size = Convolution(True, width, tuple(w // width for w in widths), blocks)
    side, left = divmod(image_size or IMAGE_SIZE, size.downsampling)
    if left or not 1 <= side <= MOST_SIDE:
        sizes = f"multiples of {size.downsampling} px up to {MOST_SIDE * size.downsampling:,} px"
        raise Mistake(
            f"--image-size {image_size or IMAGE_SIZE}: {released.about.partition(' does ')[0]} is for {sizes}"
        )
    channels = released.shape("post_quant_conv.weight", *[None] * 4)[0]
    unread = SIZES["S"]  # a convolution has no transformers
    made = Tokenizer(
        size.downsampling, side**2, channels, unread, unread, name=name, convolution=size, gaussian=Gaussian(True)
    )
    with torch.device("meta"):  # its modules tell names and shapes; no weights are drawn
        network = tokenizers.network(made, side * size.downsampling)
    assert isinstance(network, Convolutional)
    state = {
        **_half(released, "encoder", network.encoder, levels),
        **_half(released, "decoder", network.decoder, levels),
        **parted(released.linear("quant_conv", 2 * channels, 2 * channels), ["to_mean", "to_log_variance"]),
        **under("from_latents", released.linear("post_quant_conv", channels, channels)),
    }
    return Converted(side * size.downsampling, made, state)


def _half(released: Checkpoint, half: str, layers: nn.Sequential, levels: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for number, (name, layer) in enumerate(zip(_names(layers, half, levels), layers, strict=True)):
        state |= under(f"{half}.{number}", tensors(released, f"{half}.{name}", layer))
    return state


def tensors(released: Checkpoint, name: str, layer: nn.Module) -> dict[str, Tensor]:
    """The tensors of a layer under our names."""
    if isinstance(layer, Attention):
        width = layer.proj.out_channels
        parts = [released.linear(f"{name}.{part}", width, width) for part in ("q", "k", "v")]
        qkv = {kind: torch.cat([part[kind] for part in parts]) for kind in ("weight", "bias")}
        state = under("norm", released.layer(f"{name}.norm", width)) | under("qkv", qkv)
        state |= under("proj", released.linear(f"{name}.proj_out", width, width))
        return {key: tensor[..., None, None] if tensor.ndim == 2 else tensor for key, tensor in state.items()}
    if isinstance(layer, Residual):
        state = {}
        for ours, part in layer.named_children():
            state |= under(ours, tensors(released, f"{name}.{'nin_shortcut' if ours == 'shortcut' else ours}", part))
        return state
    weight = getattr(layer, "weight", None)
    return {} if weight is None else released.layer(name, *weight.shape)


def _names(layers: nn.Sequential, half: str, levels: int) -> list[str]:
    """The released names of the layers of a half, in order; a decoder counts its levels from the finest, its last."""
    if half == "encoder":
        return ["conv_in", *_of_levels(list(layers)[1:-6], "down", range(levels)), *MIDDLE, *END]
    return ["conv_in", *MIDDLE, *_of_levels(list(layers)[4:-3], "up", reversed(range(levels))), *END]


def _of_levels(layers: Sequence[nn.Module], way: str, levels: Iterable[int]) -> Iterator[str]:
    numbers = iter(levels)
    level, block = next(numbers), 0
    for layer in layers:
        if isinstance(layer, Residual):
            yield f"{way}.{level}.block.{block}"
            block += 1
        elif isinstance(layer, Attention):
            yield f"{way}.{level}.attn.{block - 1}"
        else:
            yield f"{way}.{level}.{way}sample.conv"
            level, block = next(numbers), 0
