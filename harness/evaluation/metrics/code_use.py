"""Share of the codes that stand for some token of some image."""

from __future__ import annotations

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "codes in use"
about = "share of the codes that are the nearest of some token"
unit = "%"
better = ""
digits = 0
bounds = (0.0, 100.0)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    counts = collapse.code_counts(m)
    return None if counts is None else Value(100 * (counts > 0).float().mean().item(), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return "codes that are the nearest, or have the largest weight, for at least one token of the N images"
