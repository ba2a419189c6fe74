"""Distances and scores of image sets on EfficientNet-Lite2 features, by torch-fidelity's formulas.

They are not FID, KID and IS of the literature, which are on Inception: every record names the network and the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from harness import networks
from harness.experiment import Evaluation
from harness.machine import Machine
from models.efficientnet import DEEP_STAGE, PATCH_STAGE, resized

LAYER = f"blocks.{PATCH_STAGE}"  # the last stage at stride 16, 120 channels, averaged over places
NEIGHBOURS = 3  # of precision and recall
SPLITS = 10  # of the classifier score
BATCH = 64


class Features(NamedTuple):
    """What Lite2 says of n images: features (n, 120) of `LAYER`, averaged over places, and logits (n, 1000)."""

    features: Tensor
    logits: Tensor


@torch.no_grad()
def features(images: Tensor, metrics_px: int, machine: Machine) -> Tensor:
    """The features alone (n, 120) of uint8 images (n, 3, H, W), which spares the deeper stages."""
    net = networks.efficientnet_lite(networks.MEASURE, machine)
    batches = images.split(BATCH)
    return torch.cat([_pooled(net.stages(_input(x, metrics_px, machine), PATCH_STAGE)) for x in batches])


@torch.no_grad()
def look(images: Tensor, metrics_px: int, machine: Machine) -> Features:
    """Features and logits of uint8 images (n, 3, H, W)."""
    net = networks.efficientnet_lite(networks.MEASURE, machine)
    parts = []
    for batch in images.split(BATCH):
        stages = net.stages(_input(batch, metrics_px, machine))
        parts.append(Features(_pooled(stages), net.logits(stages[DEEP_STAGE]).cpu()))
    return together(parts)


def together(parts: Sequence[Features]) -> Features:
    """What was seen of parts of a set, as one."""
    return Features(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _input(images: Tensor, metrics_px: int, machine: Machine) -> Tensor:
    """Images at the side of the measure, in float32 whatever the machine's dtype."""
    x = resized(machine.put(images).float() / 127.5 - 1, metrics_px)
    return x.contiguous(memory_format=torch.channels_last)


def _pooled(stages: list[Tensor]) -> Tensor:
    return stages[PATCH_STAGE].mean((2, 3)).cpu()


def frechet(images: Tensor, reference: Tensor) -> float:
    """Fréchet distance of Gaussians fitted to features (n, D) of images and of the reference."""
    fitted = fid_features_to_statistics(images), fid_features_to_statistics(reference)
    return float(fid_statistics_to_metric(*fitted, verbose=False)[KEY_METRIC_FID])


def kernel(images: Tensor, reference: Tensor, evaluation: Evaluation) -> tuple[float, float]:
    """Kernel distance (the KID estimator) of features: mean and standard deviation over subsets."""
    found = kid_features_to_metric(
        images,
        reference,
        kid_subsets=evaluation.kid_subsets,
        kid_subset_size=min(evaluation.kid_subset_images, len(images), len(reference)),
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """exp(E KL(p(y | x) || p(y))) (Salimans et al. 2016): mean and standard deviation over shuffled splits."""
    found = isc_features_to_metric(logits, splits=SPLITS)
    return found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD]


def precision_recall(images: Tensor, reference: Tensor) -> tuple[float, float]:
    """Shares in [0, 1] of generated images among the real ones and the other way round (Kynkäänniemi et al. 2019)."""
    found = prc_features_to_metric(
        images, reference, prc_neighborhood=NEIGHBOURS, prc_batch_size=10_000, save_cpu_ram=True, verbose=False
    )
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]
