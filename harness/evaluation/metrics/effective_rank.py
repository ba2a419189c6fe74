"""Effective rank: the number of directions over which the latents spread."""

from __future__ import annotations

import math

from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "effective rank"
about = "number of directions in which the posterior means vary (Roy & Vetterli 2007)"
unit = ""
better = ""
digits = 1
bounds = (1.0, math.inf)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    rank = collapse.effective_rank(m.eigenvalues)
    return None if rank is None else Value(rank, len(m.posterior.mean))


def protocol(m: Reconstructed) -> str:
    return (
        f"exp of the entropy of the normalised eigenvalues of the covariance over N images of the posterior means, "
        f"flattened over L x Z = {m.posterior.mean[0].numel()}, nothing masked; blind to how much they vary"
    )
