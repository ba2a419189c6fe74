"""LPIPS (Zhang et al. 2018), version 0.1 on VGG-16: the perceptual distance of the literature.

The package `lpips` contains its linear heads; the VGG-16 trunk is a separate file from torchvision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.networks.frozen import Frozen
from harness.networks.weight_files import VGG
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor


title = "LPIPS 0.1, VGG-16"
about = "squared differences of VGG-16 features, weighted by human judgements"


WEIGHTS = VGG


def weights_file(given: Path | None = None) -> Path:
    """`given`, else torchvision's file in the folder of weights or in the cache of torch's hub. Raises `Mistake`."""
    import torch

    return WEIGHTS.find(given, Path(torch.hub.get_dir()) / "checkpoints")


def load(machine: Machine, weights: Path | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """A function from two uint8 batches (n, 3, H, W) to the distances (n,) of their pairs, float32 on the CPU.

    Raises `Mistake` for weights that are missing or do not fit VGG-16.
    """
    net = network(weights_file(weights)).to(machine.device)

    def distance(images: Tensor, others: Tensor) -> Tensor:
        distances: Tensor = net(images.float() / 127.5 - 1, others.float() / 127.5 - 1)
        return distances.flatten().cpu()

    # Always in evaluation mode: in training mode the dropout of the heads would make the distance random.
    return Frozen(net, machine, distance)


def network(path: Path) -> Any:
    """The network of the package `lpips` with the trunk in the file `path`. Raises `Mistake` if it does not fit."""
    import lpips
    from torch import nn

    tensors = WEIGHTS.read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it passes deprecated arguments to torchvision
        # A random trunk needs no download.
        net = lpips.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)
    # Its slices are the layers of torchvision's `features`, up to the last one that LPIPS uses.
    trunk = nn.Sequential(*(layer for part in net.net.children() for layer in part))
    with WEIGHTS.fitting(path):
        trunk.load_state_dict(
            {key.removeprefix("features."): value for key, value in tensors.items() if key.startswith("features.")}
        )
    return net
