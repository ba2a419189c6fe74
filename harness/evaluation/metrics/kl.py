"""KL divergence of the posterior from the prior, per image."""

from __future__ import annotations

import math

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "KL"
about = "KL divergence of the posterior from N(0, I), per image"
unit = "nats"
better = ""
digits = 1
bounds = (0.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    return None if m.kl is None else Value(m.kl, len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return "closed form, sum over L x Z, mean over images, nothing masked"
