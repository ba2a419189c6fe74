"""Classifiers on the latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.base import ClassifierMixin
    from torch import Tensor

PENALTY_C = 0.1  # inverse strength of the l2 penalty, the same for every row
CLASSIFIER = f"logistic regression, l2 penalty with C = {PENALTY_C}"


def accuracy(
    m: Reconstructed, fit: Callable[[np.ndarray, np.ndarray], ClassifierMixin], pool: Callable[[Tensor], np.ndarray]
) -> Value | None:
    """The accuracy in % on the split of a classifier that `fit` fits on training images; None for latents of no number.

    `pool` turns latents (n, L, Z) into its features (n, D). These are not scaled one by one: that would blow up units
    that hold no information, and read from them what the noise of the posterior hides from a generator.
    """
    train, train_labels, latents, labels = m.probed
    if not train[0].numel():
        return None
    return Value(100 * fit(pool(train), train_labels).score(pool(latents), labels), len(labels))


def flattened(latents: Tensor) -> np.ndarray:
    """Latents (n, L, Z) as features (n, L Z)."""
    return latents.flatten(1).numpy()


def fit(features: np.ndarray, labels: np.ndarray) -> ClassifierMixin:
    """A logistic regression fitted on features (n, D); its `score` is its accuracy in [0, 1]."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=PENALTY_C, max_iter=2000, tol=1e-3).fit(features, labels)


def features(m: Reconstructed, pooling: str) -> str:
    """The protocol text on the features of a classifier and its training images."""
    return (
        f"on samples of the posterior, normalised in every channel as a generator's are, {pooling}, the first "
        f"{len(m.probed.train)} images of train; nothing masked"
    )
