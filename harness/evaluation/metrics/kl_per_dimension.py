"""KL divergence of the posterior from the prior, per latent dimension."""

from __future__ import annotations

import math

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "KL per dimension"
about = "KL divergence of the posterior from N(0, I), mean over the L x Z dimensions"
unit = "nats"
better = ""
digits = 4
bounds = (0.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    return None if m.kl is None else Value(m.kl / m.posterior.mean[0].numel(), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return "closed form, mean over L x Z and over images, nothing masked"
