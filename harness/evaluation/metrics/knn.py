"""k-nearest-neighbour accuracy: whether images of one class lie close together in the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation import probes
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.base import ClassifierMixin

title = "k-NN"
about = "accuracy of a vote of the nearest training images in the latents"
unit = "%"
better = "higher"
digits = 1
bounds = (0.0, 100.0)
splits = ("val",)
NEIGHBOURS = 20


def measure(m: Reconstructed) -> Value | None:
    return probes.accuracy(m, fit, probes.flattened)


def fit(features: np.ndarray, labels: np.ndarray) -> ClassifierMixin:
    """A vote of the nearest among features (n, D); its `score` is its accuracy in [0, 1]."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(NEIGHBOURS, len(labels)), metric="cosine").fit(features, labels)


def protocol(m: Reconstructed) -> str:
    return (
        f"vote of the {NEIGHBOURS} nearest by cosine, all of equal weight, {probes.features(m, 'flattened over L x Z')}"
    )
