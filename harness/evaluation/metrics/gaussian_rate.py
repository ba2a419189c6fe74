"""Rate of the latents under the best Gaussian: an upper bound on the mutual information of images and latents."""

from __future__ import annotations

import math

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "Gaussian rate"
about = "KL of the posterior from a Gaussian fitted to all posteriors: an upper bound on the mutual information"
unit = "nats"
better = ""
digits = 1
bounds = (0.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    if m.posterior.log_variance is None:
        return None
    return Value(collapse.gaussian_rate(m.posterior), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    images, dimensions = len(m.posterior.mean), m.posterior.mean[0].numel()
    return (
        "closed form, the Gaussian has mean and full covariance of the aggregated posterior of N images, nothing "
        "masked; an upper bound where N is large beside L x Z: the fit to N images lowers it, by up to about "
        f"(L x Z)² / 4N = {dimensions**2 / (4 * images):.1f} nats where no unit is silent"
    )
