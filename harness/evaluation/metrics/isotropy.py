"""Isotropy: how evenly the latents spread over their directions."""

from __future__ import annotations

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "isotropy"
about = "participation ratio of the posterior means over the L x Z dimensions: 1 if all directions vary alike"
unit = ""
better = ""
digits = 3
bounds = (0.0, 1.0)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    ratio = collapse.isotropy(m.eigenvalues, m.posterior.mean[0].numel())
    return None if ratio is None else Value(ratio, len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return (
        "(sum of λ)² / (L x Z sum of λ²), λ the eigenvalues of the covariance over N images of the posterior means, "
        "flattened over L x Z, nothing masked; blind to how much they vary"
    )
