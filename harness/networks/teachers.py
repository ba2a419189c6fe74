"""The frozen teachers, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.networks.frozen import TEACHER, VITS, efficientnet_lite, vit, weights_file
from harness.networks.weight_files import DINOV2
from harness.system.errors import unknown
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

    from models.objectives.alignment import Features


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: the widths of its patch tokens and its class token, the file of its weights, how to load it.

    `load(patches, machine)` returns a function from images (B, 3, H, W) in [-1, 1] to the features of a grid of
    `patches` x `patches` image tokens. If `cached`, the features of all training images are computed once and stored;
    otherwise at every step, because 256 tokens of 1024 values for 1.28 million images would take a terabyte.
    """

    about: str
    patch_width: int
    class_width: int
    cached: bool
    load: Callable[[int, Machine], Callable[[Tensor], Features]]
    weights: Callable[[], Path]


def _efficientnet_lite0(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from models.frozen.efficientnet import teacher_features

    net = efficientnet_lite(TEACHER, machine)
    return lambda x: teacher_features(net, x, patches)


def _dinov2(name: str, width: int) -> Teacher:
    def load(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
        from models.frozen import dinov2

        weights, side = DINOV2[name], dinov2.PATCH * patches
        net = vit(VITS[name], side, weights, weights.find())
        return dinov2.Teacher(net).to(machine.device)

    return Teacher(
        about=f"{DINOV2[name].of} at 14 px a patch: patch tokens and class token after the last norm, semantic score "
        "their cosine",
        patch_width=width,
        class_width=width,
        cached=False,
        load=load,
        weights=DINOV2[name].find,
    )


TEACHERS = {
    "efficientnet_lite0": Teacher(
        about="EfficientNet-Lite0: patch tokens blocks.4 (stride 16, 112 channels), class token the 1280 pooled "
        "features, semantic score the norms of blocks.4 and blocks.6, standardised and added",
        patch_width=112,
        class_width=1280,
        cached=True,
        load=_efficientnet_lite0,
        weights=partial(weights_file, TEACHER),
    ),
    "dinov2_vits14": _dinov2("dinov2_vits14", 384),
    "dinov2_vitb14": _dinov2("dinov2_vitb14", 768),
    "dinov2_vitl14": _dinov2("dinov2_vitl14", 1024),
}


def teacher(name: str) -> Teacher:
    """The teacher called `name`. Raises `Mistake` if there is none."""
    if name not in TEACHERS:
        raise unknown("teacher", name, TEACHERS)
    return TEACHERS[name]
