"""Classifiers on the latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import Pipeline
    from torch import Tensor

PENALTY_C = 0.1  # inverse strength of the l2 penalty, the same for every row
CLASSIFIER = f"logistic regression, l2 penalty with C = {PENALTY_C}"


def accuracy(
    m: Reconstructed, fit: Callable[[np.ndarray, np.ndarray], Pipeline], pool: Callable[[Tensor], np.ndarray]
) -> Value:
    """The accuracy in % on the split of a classifier that `fit` fits on training images.

    `pool` turns posterior means (n, L, Z) into its features (n, D).
    """
    latents, labels = m.train_latents
    return Value(100 * fit(pool(latents), labels).score(pool(m.posterior.mean), m.images.labels), len(m.images))


def flattened(latents: Tensor) -> np.ndarray:
    """Latents (n, L, Z) as features (n, L Z)."""
    return latents.flatten(1).numpy()


def fit(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """A logistic regression fitted on standardised features (n, D); its `score` is its accuracy in [0, 1]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_C, max_iter=2000, tol=1e-3)).fit(
        features, labels
    )


def features(m: Reconstructed, pooling: str) -> str:
    """The protocol text on the features of a classifier and its training images."""
    return (
        f"on posterior means, {pooling}, standardised by those it is fitted on, the first {len(m.train_latents[0])} "
        "images of train; nothing masked"
    )
