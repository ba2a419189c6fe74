"""Fréchet distance of generated latents from encoded ones: the generator without the decoder."""

from __future__ import annotations

import math

from harness.evaluation.generated import Generated
from harness.evaluation.records import Value

title = "latent FD"
about = "Fréchet distance of generated latents from encoded ones"
unit = ""
better = "lower"
digits = 2
bounds = (0.0, math.inf)
splits = ("samples", "guided", "prior")


def measure(m: Generated) -> Value | None:
    from harness.evaluation.frechet import of_features

    if m.latents is None or min(map(len, m.latents)) < 2:
        return None
    return Value(of_features(*(z.flatten(1) for z in m.latents)), len(m.latents.generated))


def protocol(m: Generated) -> str:
    assert m.latents is not None
    return (
        f"Fréchet distance in float64 by singular values; on latents flattened over L x Z, normalised in every channel "
        f"as the generator's are, reference: one sample of the posterior of each of {len(m.latents.encoded)} training "
        f"images; {m.how}"
    )
