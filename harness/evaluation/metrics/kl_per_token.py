"""KL divergence of the posterior from the prior, per latent token."""

from __future__ import annotations

from harness.evaluation.metrics import kl
from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

title = "KL per token"
about = "KL divergence of the posterior from N(0, I), mean over the L tokens"
unit = "nats"
better = ""
digits = 2
splits = ("val",)


def measure(m: Measured) -> Value | None:
    total = kl.measure(m)
    return total and Value(total.value / m.posterior.mean.shape[1], total.n)


def protocol(m: Measured) -> str:
    return "closed form, sum over Z, mean over L and over images, nothing masked"
