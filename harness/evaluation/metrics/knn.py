"""k-nearest-neighbour accuracy: whether images of one class lie close together in the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation import probes
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import Pipeline

title = "k-NN"
about = "accuracy of a vote of the nearest training images in the latents"
unit = "%"
better = "higher"
digits = 1
splits = ("val",)
NEIGHBOURS = 20


def measure(m: Reconstructed) -> Value:
    return probes.accuracy(m, fit, probes.flattened)


def fit(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """A vote of the nearest among standardised features (n, D); its `score` is its accuracy in [0, 1]."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(labels)), metric="cosine")
    return make_pipeline(StandardScaler(), nearest).fit(features, labels)


def protocol(m: Reconstructed) -> str:
    return (
        f"vote of the {NEIGHBOURS} nearest by cosine, all of equal weight, {probes.features(m, 'flattened over L x Z')}"
    )
