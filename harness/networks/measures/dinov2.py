"""DINOv2 ViT-L/14: FD-DINOv2 (Stein et al. 2023) uses its class token, which is closer to human judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.networks import frozen
from harness.networks.frozen import Frozen, Outputs
from harness.networks.weight_files import DINOV2
from harness.system.errors import Mistake
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

TIMM_NAME = frozen.VITS["dinov2_vitl14"]

title = "DINOv2 ViT-L/14 class token"
short = "DINOv2"
about = "the network of FD-DINOv2: self-supervised features, closer to human judgement than Inception's"
default_px = 224
resizing = "bicubic, antialiased, rounded to 8 bits"
features = 1024
spatial = None
classes = None
frechet_digits = 1
kernel_digits = 3

WEIGHTS = replace(DINOV2["dinov2_vitl14"], option="--weights")


def weights_file(given: Path | None = None) -> Path:
    """`given`, else `dinov2_vitl14.safetensors` or `.pth` in the folder of weights, else in the hub's cache."""
    return WEIGHTS.find(given)


def load(
    machine: Machine,
    side: int | None = None,
    weights: Path | None = None,
    logits: bool = True,
    timm_name: str = TIMM_NAME,
) -> Callable[[Tensor], Outputs]:
    """The class token after the last norm, at a side that is a multiple of 14 px (default 224)."""
    from models.frozen.dinov2 import PATCH

    side = side or default_px
    if side % PATCH:
        raise Mistake(f"{title} needs a side that is a multiple of {PATCH} px, not {side} px")
    net = frozen.vit(timm_name, side, WEIGHTS, weights_file(weights)).to(machine.device)
    return Frozen(net, machine, lambda images: Outputs(net(network_input(images, side)).cpu()))


def network_input(images: Tensor, side: int) -> Tensor:
    """uint8 images (n, 3, H, W), resized to `side` pixels and scaled as in the network's training.

    The resizing is Pillow's, as in the code of Stein et al.: first the width, then the height, each rounded to 8 bits.
    """
    from torch.nn import functional

    from models.frozen.dinov2 import normalised

    x = images.float()
    for size in ((x.shape[-2], side), (side, side)):
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size=size, mode="bicubic", antialias=True)
            x = (x + 0.5).floor().clamp(0, 255)  # rounds halves up
    return normalised(x / 255)
