"""EfficientNet-Lite2: the measure that works everywhere, because its weights come with an installed package.

It is a sibling of the teacher and of the perceptual network. Distances on it are not the FID, KID and IS of the
literature, which use Inception.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.networks import frozen
from harness.networks.frozen import Frozen, Outputs
from harness.system.errors import Mistake
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

title = "EfficientNet-Lite2 blocks.4 averaged over places"
short = "Lite2"
about = "the last stage at stride 16 of an ImageNet classifier: few features, so few images are enough"
default_px = None
resizing = "bicubic, antialiased"
features = 120
spatial = None
classes = 1000
frechet_digits = 1
kernel_digits = 1

WEIGHTS = frozen.LITE[frozen.MEASURE]


def weights_file(given: Path | None = None) -> Path:
    """The file inside the package. Raises `Trouble` if the package is not installed, `Mistake` for any `given`."""
    if given is not None:
        raise Mistake(f"the weights of EfficientNet-Lite2 come with its package; {given} cannot replace them")
    return frozen.weights_file(frozen.MEASURE)


def load(
    machine: Machine, side: int | None = None, weights: Path | None = None, logits: bool = True
) -> Callable[[Tensor], Outputs]:
    """The network at `side` pixels; without `logits` it skips the deeper stages. Raises ValueError without a side."""
    from models.frozen.efficientnet import DEEP_STAGE, PATCH_STAGE, resized

    if side is None:
        raise ValueError("EfficientNet-Lite2 takes images of any side, so `side` must be given")
    import torch

    weights_file(weights)
    net = frozen.efficientnet_lite(frozen.MEASURE, machine)

    def forward(images: Tensor) -> Outputs:
        x = resized(images.float() / 127.5 - 1, side).contiguous(memory_format=torch.channels_last)
        stages = net.stages(x, DEEP_STAGE if logits else PATCH_STAGE)
        pooled = stages[PATCH_STAGE].mean((2, 3)).cpu()
        return Outputs(pooled, net.logits(stages[DEEP_STAGE]).cpu() if logits else None)

    return Frozen(net, machine, forward)
