"""What tests share: a server that forks commands, results of stores that nothing disturbed, jobs on a Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toy
from tests.execution.toy_commands import ROWS, Commands
from tests.execution.toy_slurm import Toy
from tests.slurm import Slurm


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(toy.checkout(tmp_path_factory.mktemp("toy")))
    with commands.forks:
        yield commands


@pytest.fixture(scope="session")
def right(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, object]]:
    """The results of stores that nothing disturbed, by the number of rows."""
    results = {}
    for rows in (1, ROWS):
        runs = tmp_path_factory.mktemp("right")
        assert command(runs, rows=rows)[0] == 0
        results[rows] = toy.results(runs)
    assert len(results[ROWS]) == 1 + 3 * ROWS  # a training has curves
    return results


@pytest.fixture
def made(slurm: Slurm, checkout: Path, tmp_path: Path) -> Iterator[Toy]:
    found = Toy(slurm, checkout, tmp_path)
    yield found
    found.close()
