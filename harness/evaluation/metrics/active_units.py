"""Share of the latent dimensions that depend on the image."""

from __future__ import annotations

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "active units"
about = "share of the L x Z dimensions whose posterior mean varies over images"
unit = "%"
better = ""
digits = 0
splits = ("val",)


def measure(m: Reconstructed) -> Value:
    return Value(100 * collapse.active_units(m.posterior.mean).float().mean().item(), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return f"variance over images of the posterior mean above {collapse.ACTIVE_VARIANCE} (Burda et al. 2016)"
