"""Mutual information of images and latents: a lower bound that can be estimated from few images."""

from __future__ import annotations

import math

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "mutual information"
about = "information on the image in the latents, from the aggregated posterior of N images: a lower bound, <= log N"
unit = "nats"
better = ""
bounds = (0.0, math.inf)
digits = 2
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    if m.posterior.log_variance is None:
        return None
    value, error = collapse.mutual_information(m.posterior, m.noise)
    return Value(value, len(m.posterior.mean), error)


def protocol(m: Reconstructed) -> str:
    return (
        "E[log q(z | x) - log of the mean of q(z | x_j) over N images, the own one included], one sample of every "
        "posterior, nothing masked, ± its standard error over images; a lower bound in expectation, the further below "
        f"the nearer it comes to log N = {math.log(len(m.posterior.mean)):.2f} nats, which it cannot pass"
    )
