"""The frozen teachers, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.networks.frozen import TEACHER, VITS, efficientnet_lite, untrained, vit, weights_file
from harness.networks.weight_files import DINOV2
from harness.system import plugins
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

    from models.objectives.alignment import Features


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: the widths of its patch tokens and its class token, the file of its weights, how to load it.

    `load(patches, machine)` returns a function from images (B, 3, H, W) in [-1, 1] to the features of a grid of
    `patches` x `patches` image tokens. If `cached`, the features of all training images are computed once and stored;
    otherwise at every step, because 256 tokens of 1024 values for 1.28 million images would take a terabyte. `flops` of
    an image are for plans; those of our networks are in `harness.networks.flops`.
    """

    about: str
    patch_width: int
    class_width: int
    cached: bool
    load: Callable[[int, Machine], Callable[[Tensor], Features]]
    weights: Callable[[], Path]
    flops: float = 0.0


def _efficientnet_lite0(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from models.frozen.efficientnet import teacher_features

    net = efficientnet_lite(TEACHER, machine)
    return lambda x: teacher_features(net, x, patches)


def _random(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from harness.system.randomness import seeded
    from models.frozen.efficientnet import EfficientNet, teacher_features

    with seeded("teacher", "random"):
        net = EfficientNet(untrained(TEACHER)).to(machine.device)
    return lambda x: teacher_features(net, x, patches)


def _pixels(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from models.frozen.pixels import pixel_features

    return lambda x: pixel_features(x, patches)


def _no_weights() -> Path:
    """A teacher without weights of its own reads no file; its record names this one."""
    return Path(__file__)


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


TEACHERS: dict[str, Teacher] = {
    "efficientnet_lite0": Teacher(
        about="EfficientNet-Lite0: patch tokens blocks.4 (stride 16, 112 channels), class token the 1280 pooled "
        "features, semantic score the norms of blocks.4 and blocks.6, standardised and added",
        patch_width=112,
        class_width=1280,
        cached=True,
        load=_efficientnet_lite0,
        weights=partial(weights_file, TEACHER),
    ),
    "random": Teacher(
        about="EfficientNet-Lite0 with random weights, the same for every seed: features as of efficientnet_lite0",
        patch_width=112,
        class_width=1280,
        cached=True,
        load=_random,
        weights=_no_weights,
    ),
    "pixels": Teacher(
        about="no network: patch tokens the pixels of 4 x 4 cells of a patch less the mean of the image, class token "
        "those of the image, semantic score the deviation of a patch",
        patch_width=48,
        class_width=48,
        cached=True,
        load=_pixels,
        weights=_no_weights,
    ),
    "dinov2_vits14": _dinov2("dinov2_vits14", 384),
    "dinov2_vitb14": _dinov2("dinov2_vitb14", 768),
    "dinov2_vitl14": _dinov2("dinov2_vitl14", 1024),
}


def code(name: str | None) -> str | None:
    """16 digits that stand for the file of a user's teacher, None for ours."""
    return plugins.code(__name__, name)


def teacher(name: str) -> Teacher:
    """The teacher called `name`. Raises `Mistake` if there is none."""
    if name not in TEACHERS:
        raise plugins.no_such("teacher", name, TEACHERS)
    return TEACHERS[name]
