"""KL of the best linear-Gaussian model at the same weight: a reference, not a measurement of the tokenizer.

It is biased upwards if the covariance of D pixels comes from few images N: the sample spreads the eigenvalues, and the
largest ones pay for the latents. The bias does not fall as 1 / N, so halving N does not remove it.
"""

from __future__ import annotations

import math

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "linear-Gaussian KL"
about = "KL that the best linear-Gaussian model would spend at this KL weight (reverse water-filling)"
unit = "nats"
better = ""
digits = 1
bounds = (0.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    tokenizer, components = m.experiment.tokenizer, m.components
    if not tokenizer.gaussian.on or components is None:
        return None
    level, eigenvalues = collapse.water_level(m.experiment), components.eigenvalues.numpy()
    return Value(collapse.linear_gaussian_kl(eigenvalues, level, tokenizer.numbers), components.images)


def protocol(m: Reconstructed) -> str:
    return (
        "reverse water-filling on the pixel covariance of N training images, water level weight x 3HW / 2, "
        "at most L x Z dimensions; for the squared error alone, without a perceptual term"
    )
