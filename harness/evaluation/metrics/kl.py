"""KL divergence of the posterior from the prior, per image."""

from __future__ import annotations

from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

title = "KL"
about = "KL divergence of the posterior from N(0, I), per image"
unit = "nats"
better = ""
digits = 1
splits = ("val",)


def measure(m: Measured) -> Value | None:
    if m.posterior.log_variance is None:
        return None
    return Value(m.posterior.kl().sum((1, 2)).mean().item(), len(m.posterior.mean))


def protocol(m: Measured) -> str:
    return "closed form, sum over L x Z, mean over images, nothing masked"
