"""Fréchet and kernel distances on EfficientNet-Lite2 features, through torch-fidelity. They are not FID and not KID of
the literature, which are on Inception features: every record names the network and the layer.
"""

from __future__ import annotations

from functools import cache

import torch
import torch_fidelity
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness import networks
from harness.experiment import Evaluation
from harness.machine import Machine
from models.efficientnet import PATCH_STAGE, resized

LAYER = f"blocks.{PATCH_STAGE}"  # the last stage at stride 16, 120 channels, averaged over places


@cache
def extractor(metrics_px: int, machine: Machine) -> str:
    """Registers Lite2 at this input side with torch-fidelity; returns the name that it is registered under."""
    name = f"efficientnet-lite2-{metrics_px}px"
    net = networks.efficientnet_lite(networks.MEASURE, machine)

    class Lite2(FeatureExtractorBase):
        """uint8 (B, 3, H, W) -> ((B, 120),), in float32 whatever the machine's dtype."""

        def __init__(self, name: str, features_list: list[str], **kwargs: object):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (LAYER,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return LAYER

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor]:
            x = resized(images.float() / 127.5 - 1, metrics_px)
            x = x.contiguous(memory_format=torch.channels_last)
            return (net.stages(x, PATCH_STAGE)[PATCH_STAGE].mean((2, 3)),)

    torch_fidelity.register_feature_extractor(name, Lite2)
    return name


class _Images(torch.utils.data.Dataset[Tensor]):
    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def distances(images: Tensor, reference: Tensor, evaluation: Evaluation, machine: Machine) -> dict[str, float]:
    """{"frechet", "kernel", "kernel_deviation"} of uint8 images (n, 3, H, W) from the reference images."""
    measured = torch_fidelity.calculate_metrics(
        input1=_Images(images),
        input2=_Images(reference),
        fid=True,
        kid=True,
        feature_extractor=extractor(evaluation.metrics_px, machine),
        kid_subsets=evaluation.kid_subsets,
        kid_subset_size=min(evaluation.kid_subset_images, len(images), len(reference)),
        batch_size=64,
        cuda=machine.device == "cuda",
        save_cpu_ram=True,  # no loader processes: the images are in memory
        cache=False,
        verbose=False,
    )
    return {
        "frechet": measured[torch_fidelity.KEY_METRIC_FID],
        "kernel": measured[torch_fidelity.KEY_METRIC_KID_MEAN],
        "kernel_deviation": measured[torch_fidelity.KEY_METRIC_KID_STD],
    }
