"""DINOv2 ViT-L/14, whose class token FD-DINOv2 is measured on (Stein et al. 2023): closer to what people see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.networks import frozen
from harness.networks.frozen import Frozen, Seen
from harness.networks.weight_files import DINOV2
from harness.system.errors import Mistake
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

TIMM_NAME = frozen.VITS["dinov2_vitl14"]

title = "DINOv2 ViT-L/14 class token"
short = "DINOv2"
about = "what FD-DINOv2 is measured on: self-supervised features, nearer to people's judgement than Inception's"
default_px = 224
resizing = "bicubic, antialiased, rounded to 8 bits"
features = 1024
spatial = None
classes = None
frechet_digits = 1
kernel_digits = 3

WEIGHTS = replace(DINOV2["dinov2_vitl14"], option="--weights")


def weights_file(given: Path | None = None) -> Path:
    """`given`, else `dinov2_vitl14.safetensors` or `.pth` in the folder of weights, or what the hub's cache has."""
    return WEIGHTS.find(given)


def load(
    machine: Machine,
    side: int | None = None,
    weights: Path | None = None,
    logits: bool = True,
    timm_name: str = TIMM_NAME,
) -> Callable[[Tensor], Seen]:
    """The class token after the last normalisation, at a side that is a multiple of 14 px (default 224)."""
    from models.dinov2 import PATCH

    side = side or default_px
    if side % PATCH:
        raise Mistake(f"{title} looks at multiples of {PATCH} px, not at {side} px")
    net = frozen.vit(timm_name, side, WEIGHTS, weights_file(weights)).to(machine.device)
    return Frozen(net, machine, lambda images: Seen(net(network_input(images, side)).cpu()))


def network_input(images: Tensor, side: int) -> Tensor:
    """uint8 images (n, 3, H, W) at `side` pixels, on the scale that the network was trained on.

    They are resized as Pillow does it for the code of Stein et al.: rows, then columns, each rounded to 8 bits.
    """
    from torch.nn import functional

    from models.dinov2 import normalised

    x = images.float()
    for size in ((x.shape[-2], side), (side, side)):
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size=size, mode="bicubic", antialias=True)
            x = (x + 0.5).floor().clamp(0, 255)  # halves go up
    return normalised(x / 255)
