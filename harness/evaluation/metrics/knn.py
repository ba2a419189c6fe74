"""k-nearest-neighbour accuracy: whether images of a class lie near one another in the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation import probes
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import Pipeline

title = "k-NN"
about = "accuracy of the vote of the nearest training images in the latents"
unit = "%"
better = "higher"
digits = 1
splits = ("val",)
NEIGHBOURS = 20


def measure(m: Reconstructed) -> Value:
    return probes.accuracy(m, fit, probes.flattened)


def fit(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """The vote of the nearest of features (n, D), standardised; `score` is the share in [0, 1] that it gets right."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(labels)), metric="cosine")
    return make_pipeline(StandardScaler(), nearest).fit(features, labels)


def protocol(m: Reconstructed) -> str:
    return (
        f"vote of the {NEIGHBOURS} nearest by cosine, all of equal weight, {probes.features(m, 'flattened over L x Z')}"
    )
