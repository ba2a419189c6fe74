"""DINOv2 ViT-L/14, whose class token FD-DINOv2 is measured on (Stein et al. 2023): closer to what people see."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Mistake
from harness.machine import Machine
from harness.measures import Frozen, Seen, WeightsFile
from harness.measures import checksum as checksum

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM_NAME = "vit_large_patch14_dinov2"
PATCH = 14  # px
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in [0, 1]
POSITION_OFFSET = 0.1  # patches

title = "DINOv2 ViT-L/14 class token"
about = "what FD-DINOv2 is measured on: self-supervised features, nearer to people's judgement than Inception's"
default_px = 224
resizing = "bicubic, antialiased, rounded to 8 bits"
features = 1024
spatial = None
classes = None

WEIGHTS = WeightsFile(
    "DINOv2 ViT-L/14",
    ("dinov2_vitl14.safetensors", "dinov2_vitl14.pth"),
    "model.safetensors of timm/vit_large_patch14_dinov2.lvd142m on the Hugging Face hub "
    "(or DINOv2's own dinov2_vitl14_pretrain.pth)",
)


def weights_file(given: Path | None = None) -> Path:
    """`given`, else `dinov2_vitl14.safetensors` or `.pth` in the folder of weights."""
    return WEIGHTS.find(given)


def load(
    machine: Machine, side: int | None = None, weights: Path | None = None, timm_name: str = TIMM_NAME
) -> Callable[[Tensor], Seen]:
    """The class token after the last normalisation, at a side that is a multiple of 14 px (default 224)."""
    side = side or default_px
    if side % PATCH:
        raise Mistake(f"{title} looks at multiples of {PATCH} px, not at {side} px")
    net = _network(weights_file(weights), side, timm_name).to(machine.device)
    return Frozen(net, machine, lambda images: Seen(net(network_input(images, side)).cpu()))


def network_input(images: Tensor, side: int) -> Tensor:
    """uint8 images (n, 3, H, W) at `side` pixels, on the scale that the network was trained on.

    They are resized as Pillow does it for the code of Stein et al.: rows, then columns, each rounded to 8 bits.
    """
    import torch
    from torch.nn import functional

    x = images.float()
    for size in ((x.shape[-2], side), (side, side)):
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size=size, mode="bicubic", antialias=True)
            x = (x + 0.5).floor().clamp(0, 255)  # halves go up
    mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, STD))
    return (x / 255 - mean) / std


def positions(stored: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, 1 + g², D) for `grid` x `grid` patches, resampled as DINOv2's own code does.

    It takes the bicubic filter without antialiasing, on a grid `POSITION_OFFSET` patches too wide: published FD-DINOv2
    rest on that. timm antialiases, which gives other features.
    """
    import torch
    from torch.nn import functional

    stored_grid = math.isqrt(stored.shape[1] - 1)
    if stored_grid == grid:
        return stored
    patches = stored[:, 1:].unflatten(1, (stored_grid, stored_grid)).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, scale_factor=(grid + POSITION_OFFSET) / stored_grid, mode="bicubic")
    return torch.cat([stored[:, :1], patches.flatten(2).transpose(1, 2)], 1)


def _network(path: Path, side: int, timm_name: str) -> nn.Module:
    import timm

    tensors = WEIGHTS.read(path)
    tensors.pop("mask_token", None)  # DINOv2's own file has it, for training
    net: nn.Module = timm.create_model(timm_name, pretrained=False, num_classes=0, img_size=side)
    with WEIGHTS.fitting(path):
        if "pos_embed" in tensors:
            tensors["pos_embed"] = positions(tensors["pos_embed"].float(), side // PATCH)
        net.load_state_dict(tensors)
    return net
