"""Classifier two-sample test: whether a network tells generated latents from encoded ones."""

from __future__ import annotations

import warnings

from harness.evaluation.generated import Generated
from harness.evaluation.records import Value

title = "two-sample accuracy"
about = "accuracy of a classifier that tells generated latents from encoded ones; 50 % if it sees no difference"
unit = "%"
better = "lower"
digits = 1
bounds = (0.0, 100.0)
splits = ("samples", "guided", "prior")
MOST = 5_000  # latents of each kind
LEAST = 20  # fewer leave nothing to stop early by
PATIENCE = 30  # epochs without gain
HIDDEN = 128
PENALTY = 1e-2


def measure(m: Generated) -> Value | None:
    """Trains on the first half of both kinds and tests on the second (Lopez-Paz & Oquab 2017)."""
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if m.latents is None or (count := _count(m)) < LEAST:
        return None
    half, kinds = count // 2, [z[:count].flatten(1).numpy() for z in m.latents]
    classifier = MLPClassifier((HIDDEN,), alpha=PENALTY, early_stopping=True, n_iter_no_change=PATIENCE, random_state=0)
    labels = np.repeat([0, 1], half)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # it may learn on to the last epoch
        classifier.fit(np.concatenate([z[:half] for z in kinds]), labels)
    return Value(100 * classifier.score(np.concatenate([z[half : 2 * half] for z in kinds]), labels), 2 * half)


def _count(m: Generated) -> int:
    """How many latents of each kind are used."""
    assert m.latents is not None
    return min(MOST, *map(len, m.latents))


def protocol(m: Generated) -> str:
    return (
        f"classifier two-sample test (Lopez-Paz & Oquab 2017) on latents flattened over L x Z, normalised in every "
        f"channel as the generator's are: a network with {HIDDEN} hidden units, l2 penalty {PENALTY}, stopped early, "
        f"fitted on {_count(m) // 2} latents of each kind, tested on as many others; encoded: one sample of the "
        f"posterior of training images; {m.how}"
    )
