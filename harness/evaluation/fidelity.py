"""Distances and scores of image sets from network outputs, in memory that does not grow with the number of images.

They are the FID, KID and IS of the literature only with Inception and by the protocol of the literature. Every record
names network, layer and N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from harness.experiments.experiment import DEFAULT_NETWORK, Evaluation
from harness.networks.frozen import Outputs
from harness.system import plugins
from harness.system.fitting import Batching
from harness.system.machine import Machine

NEIGHBOURS = 3  # for precision and recall
SPLITS = 10  # for the classifier score
BATCH = 64  # images in a batch of a network, on the CPU
LOOKING = Batching(BATCH, 512)
BLOCK = 1024  # features in a block: BLOCK x BLOCK distances are in memory at once


def features(images: Tensor, metrics_px: int, machine: Machine) -> Tensor:
    """Features (n, 120) of uint8 images (n, 3, H, W) by the default network."""
    measure = plugins.load("harness.networks.measures", DEFAULT_NETWORK, "measure")
    return outputs(images, measure.load(machine, metrics_px, logits=False)).features


def network(evaluation: Evaluation, machine: Machine, logits: bool = True) -> Callable[[Tensor], Outputs]:
    """The network of an evaluation: images to features and, if `logits` is true and it has any, logits.

    It leaves out spatial features, as no metric of a stage uses them. Raises `Mistake` if its weights are missing.
    """
    measure = plugins.load("harness.networks.measures", evaluation.network, "measure")
    outputs_of = measure.load(machine, evaluation.side_px, logits=logits)
    return lambda images: outputs_of(images)._replace(spatial=None)


def outputs(images: Tensor, network: Callable[[Tensor], Outputs]) -> Outputs:
    """The outputs of a network for uint8 images (n, 3, H, W), computed batch by batch."""
    return concatenated(LOOKING.map(network, images))


def concatenated(parts: Sequence[Outputs]) -> Outputs:
    """The outputs for the parts of a set as one."""
    features, logits, spatial = (None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))
    assert features is not None
    return Outputs(features, logits, spatial)


def kernel(images: Tensor, reference: Tensor, subsets: int, subset_images: int) -> tuple[float, float]:
    """Kernel distance (the KID estimator) of features: mean and standard deviation over subsets.

    If there are fewer images than a subset holds, the subsets hold all of them.
    """
    statistics = kid_features_to_metric(
        images,
        reference,
        kid_subsets=subsets,
        kid_subset_size=min(subset_images, len(images), len(reference)),
        verbose=False,
    )
    return statistics[KEY_METRIC_KID_MEAN], statistics[KEY_METRIC_KID_STD]


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """exp(E KL(p(y | x) || p(y))) (Salimans et al. 2016) of logits (n, C): mean and standard deviation over splits.

    It shuffles the images first. If images are sorted by class, a split of them would hold only a few classes.
    """
    order = torch.from_numpy(np.random.RandomState(2020).permutation(len(logits)))  # as in torch-fidelity
    scores = []
    for split in range(SPLITS):
        indices = order[split * len(logits) // SPLITS : (split + 1) * len(logits) // SPLITS]
        marginal, negative_entropy = torch.zeros(logits.shape[1], dtype=torch.float64), 0.0
        for block in indices.split(BLOCK):
            log_p = logits[block].double().log_softmax(1)
            marginal += log_p.exp().sum(0)
            negative_entropy += (log_p.exp() * log_p).sum().item()
        marginal /= len(indices)
        scores.append(np.exp(negative_entropy / len(indices) - torch.special.xlogy(marginal, marginal).sum().item()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(images: Tensor, reference: Tensor) -> tuple[float, float]:
    """Precision and recall in [0, 1] of features of generated and real images (Kynkäänniemi et al. 2019)."""
    of_images, of_reference = _radii(images), _radii(reference)
    return _inside(images, reference, of_reference), _inside(reference, images, of_images)


def _radii(features: Tensor) -> Tensor:
    """The distances (n,) of features from their `NEIGHBOURS`-th nearest neighbour."""
    radii = []
    for rows in features.split(BLOCK):
        nearest = torch.full((len(rows), 0), torch.inf)
        for _, distances in _distances(rows, features):
            smallest = min(NEIGHBOURS + 1, nearest.shape[1] + distances.shape[1])  # each is its own nearest
            nearest = torch.cat([nearest, distances], 1).topk(smallest, largest=False).values
        radii.append(nearest[:, -1])
    return torch.cat(radii)


def _inside(features: Tensor, others: Tensor, radii: Tensor) -> float:
    """The share of features that lie within the radius of any feature in `others`."""
    inside = 0
    for rows in features.split(BLOCK):
        inside_any = torch.zeros(len(rows), dtype=torch.bool)
        for start, distances in _distances(rows, others):
            inside_any |= (distances <= radii[start : start + distances.shape[1]]).any(1)
        inside += int(inside_any.sum())
    return inside / len(features)


def _distances(rows: Tensor, others: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks (n, m) of Euclidean distances from `others`, each with the index at which it starts."""
    centre = others[:1]  # subtracted from both, as products of large numbers would swallow small distances
    for start in range(0, len(others), BLOCK):
        yield start, torch.cdist(rows - centre, others[start : start + BLOCK] - centre)
