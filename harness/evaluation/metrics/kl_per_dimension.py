"""KL divergence of the posterior from the prior, per latent dimension."""

from __future__ import annotations

from harness.evaluation.metrics import kl
from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

title = "KL per dimension"
about = "KL divergence of the posterior from N(0, I), mean over the L x Z dimensions"
unit = "nats"
better = ""
digits = 4
splits = ("val",)


def measure(m: Measured) -> Value | None:
    total = kl.measure(m)
    return total and Value(total.value / m.posterior.mean[0].numel(), total.n)


def protocol(m: Measured) -> str:
    return "closed form, mean over L x Z and over images, nothing masked"
