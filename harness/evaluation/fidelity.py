"""Distances and scores of image sets on what a network sees of them, in memory that does not grow with their number.

They are FID, KID and IS of the literature where the network is Inception and the protocol is theirs, and never else:
every record names network, layer and N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from harness.experiments.experiment import DEFAULT_NETWORK, Evaluation
from harness.networks.frozen import Seen
from harness.system import plugins
from harness.system.machine import Machine

NEIGHBOURS = 3  # of precision and recall
SPLITS = 10  # of the classifier score
BATCH = 64  # images that a network sees at once
BLOCK = 1024  # features whose distances are in memory at once, squared


def features(images: Tensor, metrics_px: int, machine: Machine) -> Tensor:
    """The features alone (n, 120), by the default network, of uint8 images (n, 3, H, W)."""
    measure = plugins.load("harness.networks.measures", DEFAULT_NETWORK, "measure")
    return seen(images, measure.load(machine, metrics_px, logits=False)).features


def network(evaluation: Evaluation, machine: Machine, logits: bool = True) -> Callable[[Tensor], Seen]:
    """The network of an evaluation, for features, and for logits where it has them and they are wanted.

    Features that keep their places, which no metric of a stage takes, are left out. Raises `Mistake` for weights that
    are missing.
    """
    measure = plugins.load("harness.networks.measures", evaluation.network, "measure")
    see = measure.load(machine, evaluation.side_px, logits=logits)
    return lambda images: see(images)._replace(spatial=None)


def seen(images: Tensor, network: Callable[[Tensor], Seen]) -> Seen:
    """What a network sees of uint8 images (n, 3, H, W), batch by batch."""
    return together([network(batch) for batch in images.split(BATCH)])


def together(parts: Sequence[Seen]) -> Seen:
    """What was seen of parts of a set, as one."""
    features, logits, spatial = (None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))
    assert features is not None
    return Seen(features, logits, spatial)


def kernel(images: Tensor, reference: Tensor, subsets: int, subset_images: int) -> tuple[float, float]:
    """Kernel distance (the KID estimator) of features: mean and standard deviation over subsets.

    Of fewer images than a subset holds, the subsets hold them all.
    """
    found = kid_features_to_metric(
        images,
        reference,
        kid_subsets=subsets,
        kid_subset_size=min(subset_images, len(images), len(reference)),
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """exp(E KL(p(y | x) || p(y))) (Salimans et al. 2016) of logits (n, C): mean and standard deviation over splits.

    The images are shuffled first: splits of images that are sorted by class would each hold few classes.
    """
    order = torch.from_numpy(np.random.RandomState(2020).permutation(len(logits)))  # the shuffle of torch-fidelity
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
    """Shares in [0, 1] of generated images among the real ones and the other way round (Kynkäänniemi et al. 2019)."""
    of_images, of_reference = _radii(images), _radii(reference)
    return _inside(images, reference, of_reference), _inside(reference, images, of_images)


def _radii(features: Tensor) -> Tensor:
    """The distance (n,) of every feature from its neighbour number `NEIGHBOURS`."""
    found = []
    for rows in features.split(BLOCK):
        nearest = torch.full((len(rows), 0), torch.inf)
        for _, distances in _distances(rows, features):
            smallest = min(NEIGHBOURS + 1, nearest.shape[1] + distances.shape[1])  # each is its own nearest
            nearest = torch.cat([nearest, distances], 1).topk(smallest, largest=False).values
        found.append(nearest[:, -1])
    return torch.cat(found)


def _inside(features: Tensor, others: Tensor, radii: Tensor) -> float:
    """The share of features that lie within the radius of any of `others`."""
    inside = 0
    for rows in features.split(BLOCK):
        any_of = torch.zeros(len(rows), dtype=torch.bool)
        for start, distances in _distances(rows, others):
            any_of |= (distances <= radii[start : start + distances.shape[1]]).any(1)
        inside += int(any_of.sum())
    return inside / len(features)


def _distances(rows: Tensor, others: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Euclidean distances (n, m) from others, block by block, each with where it starts."""
    centre = others[:1]  # about a point among them, as products of large numbers would swallow small distances
    for start in range(0, len(others), BLOCK):
        yield start, torch.cdist(rows - centre, others[start : start + BLOCK] - centre)
