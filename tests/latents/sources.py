"""Sources of samples with another sampler, other labels or another guide."""

from __future__ import annotations

import dataclasses

from harness.experiments.experiment import UNGUIDED, Guide
from harness.experiments.fields import with_fields
from harness.latents import sampling
from harness.latents.sampling import Source
from tests.latents.stored import EXPERIMENT

L, Z = SHAPE = sampling.shape(EXPERIMENT)
GUIDES = [UNGUIDED, Guide(2.3, 0.0, 0.7)]


def by(source: Source, sampler: str, **fields: object) -> Source:
    """The same source with another sampler, and other fields of its experiment."""
    replaced = {"sampling.sampler": sampler} | {path.replace("__", "."): value for path, value in fields.items()}
    return dataclasses.replace(source, experiment=with_fields(source.experiment, replaced))


def labelled(source: Source, how: str, seed: int = 0) -> Source:
    return by(source, "euler", sampling__labels=how, seed=seed)
