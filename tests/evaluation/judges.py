"""What judges the harness: torch-fidelity's front door on features of Lite2, and a count of the memory of tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch_fidelity
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness.networks import frozen
from harness.system.machine import Machine

MACHINE = Machine("cpu", "float32", 1)
PX = 64


class Lite2(FeatureExtractorBase):
    """What `harness.evaluation.fidelity` looks at, by timm's own forward pass and a preprocessing of our own."""

    def __init__(self, name: str, features_list: list[str], **_: object):
        super().__init__(name, features_list)
        self.net = frozen.efficientnet_lite(frozen.MEASURE, MACHINE).net

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        assert images.dtype == torch.uint8
        x = functional.interpolate(images.float(), size=(PX, PX), mode="bicubic", antialias=True).clamp(0, 255)
        x = (x - 127) / 128
        stage = self.net.blocks[:5](self.net.bn1(self.net.conv_stem(x)))
        found = {"features": stage.mean((2, 3)), "logits": self.net(x)}
        return tuple(found[name] for name in self.features_list)


torch_fidelity.register_feature_extractor("lite2-of-the-tests", Lite2)


class Images(torch.utils.data.Dataset):
    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        return self.images[place]


class Memory(TorchDispatchMode):
    """How many bytes of new tensors there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(made):
            place = x.untyped_storage().data_ptr() if isinstance(x, Tensor) else 0
            if place and place not in given | self.live.keys():
                self.live[place] = x.untyped_storage().nbytes()
                weakref.finalize(x, self.live.pop, place, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return made


def peak(function: Callable[[], object]) -> int:
    with Memory() as memory:
        function()
    return memory.peak
