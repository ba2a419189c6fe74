"""Linear probe: how much of the class a linear classifier reads off the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.metrics import Measured, Value

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import Pipeline

title = "probe"
about = "accuracy of a linear classifier on the latents"
unit = "%"
better = "higher"
digits = 1
splits = ("val",)
PENALTY_C = 0.1  # inverse strength of the l2 penalty, the same for every row


def measure(m: Measured) -> Value:
    val = m.posterior.mean.flatten(1).numpy()
    return Value(100 * fit(*m.train_latents).score(val, m.images.labels), len(m.images))


def fit(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """A logistic regression on features (n, D), standardised; its `score` is the share in [0, 1] that it gets right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_C, max_iter=2000, tol=1e-3)).fit(
        features, labels
    )


def protocol(m: Measured) -> str:
    return (
        f"logistic regression, l2 penalty with C = {PENALTY_C}, on posterior means flattened over L x Z and "
        f"standardised, fitted on {len(m.train_latents[0])} train images"
    )
