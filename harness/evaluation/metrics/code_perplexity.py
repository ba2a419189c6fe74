"""How many codes are in use if each counts by how often it is."""

from __future__ import annotations

import math

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "code perplexity"
about = "exp of the entropy of the codes' frequencies: as many codes if all were used alike"
unit = ""
better = ""
digits = 1
bounds = (1.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    counts = collapse.code_counts(m)
    if counts is None:
        return None
    p = counts[counts > 0].double() / counts.sum()
    return Value((-p * p.log()).sum().exp().item(), len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return (
        "exp of the entropy of how often a code is the nearest, or has the largest weight, over all tokens of N images"
    )
