"""What tests of sweeps share: a server that forks commands, and stores with and without a finished sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import toy
from tests.search.toy_sweep import TRIALS, UNDRAWN, Bowl
from tests.toy.forks import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(toy.checkout(tmp_path_factory.mktemp("toy")), tmp_path_factory.mktemp("said"))
    with forks.server:
        yield forks


@pytest.fixture
def bowl(forks: Forks, tmp_path: Path) -> Bowl:
    return Bowl(forks, tmp_path)


@pytest.fixture
def undrawn(forks: Forks, tmp_path: Path) -> Bowl:
    return Bowl(forks, tmp_path, UNDRAWN)


@pytest.fixture(scope="session")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bowl]:
    """The sweep by a sampler that nothing disturbed. Tests copy it, never change it."""

    @functools.cache
    def made(sampler: str) -> Bowl:
        bowl = Bowl(forks, tmp_path_factory.mktemp(sampler))
        bowl.done("--sampler", sampler, "--trials", str(TRIALS[sampler]))
        return bowl

    return made
