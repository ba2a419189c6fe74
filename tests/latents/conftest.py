"""What tests of latents share: the runs of the finished row, its tokenizer, and a generator that heeds its input."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.latents import sampling
from harness.latents.sampling import Source
from harness.networks import weights
from harness.planning.task import tasks
from harness.store.runs import Run, Store
from models.autoencoders.vit_1d import ViT1D
from tests.conftest import MACHINE
from tests.latents.stored import EXPERIMENT

# After 40 steps the generator hardly heeds time and class; these factors let it.
LOUDER = {"label.weight": 30, "modulation.weight": 5, "to_velocity.weight": 30}


@pytest.fixture(scope="session")
def finished(runs: Path) -> dict[str, Run]:
    return {t.stage: t.run_in(Store(runs)) for t in tasks([EXPERIMENT])}


@pytest.fixture
def tokenizer(finished: dict[str, Run]) -> ViT1D:
    return weights.load_tokenizer(EXPERIMENT, finished["tokenizer"])


@pytest.fixture(scope="session")
def louder(finished: dict[str, Run]) -> Source:
    source = sampling.load(EXPERIMENT, finished, MACHINE)
    for name, parameter in source.network.named_parameters():
        parameter.data *= next((factor for end, factor in LOUDER.items() if name.endswith(end)), 1)
    return source
