"""Share of the latent dimensions that carry information on the image."""

from __future__ import annotations

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "active units"
about = "share of the L x Z dimensions that have a KL and whose posterior mean varies over images"
unit = "%"
better = ""
digits = 0
bounds = (0.0, 100.0)
splits = ("val",)


def measure(m: Reconstructed) -> Value:
    return Value(100 * collapse.active_units(m.posterior).float().mean().item(), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    varies = f"variance over images of the posterior mean above {collapse.ACTIVE_VARIANCE} (Burda et al. 2016)"
    deterministic = m.posterior.log_variance is None
    return varies if deterministic else f"{varies}, and KL above {collapse.ACTIVE_NATS} nats, mean over images"
