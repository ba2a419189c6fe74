"""Linear probe: how much of the class a linear classifier reads off the latents."""

from __future__ import annotations

from harness.metrics import Measured, Value

title = "probe"
about = "accuracy of a linear classifier on the latents"
unit = "%"
better = "higher"
digits = 1
splits = ("val",)
PENALTY_C = 0.1  # inverse strength of the l2 penalty, the same for every row


def measure(m: Measured) -> Value:
    return Value(100 * accuracy(*m.train_latents, m.posterior.mean.flatten(1).numpy(), m.images.labels), len(m.images))


def accuracy(train, train_labels, val, val_labels) -> float:  # type: ignore[no-untyped-def]
    """Share in [0, 1] of `val` (n, D) that a logistic regression fitted on `train` gets right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # lbfgs of a few hundred standardised features settles well within 300 iterations; the tolerance is what stops it.
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_C, max_iter=2000, tol=1e-3))
    return float(probe.fit(train, train_labels).score(val, val_labels))


def protocol(m: Measured) -> str:
    return (
        f"logistic regression, l2 penalty with C = {PENALTY_C}, on posterior means flattened over L x Z and "
        f"standardised, fitted on {len(m.train_latents[0])} train images, scored on {m.split}"
    )
