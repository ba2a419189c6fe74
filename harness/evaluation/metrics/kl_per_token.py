"""KL divergence of the posterior from the prior, per latent token."""

from __future__ import annotations

import math

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "KL per token"
about = "KL divergence of the posterior from N(0, I), mean over the L tokens"
unit = "nats"
better = ""
digits = 2
bounds = (0.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    return None if m.kl is None else Value(m.kl / m.posterior.mean.shape[1], len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return "closed form, sum over Z, mean over L and over images, nothing masked"
