"""The row whose pictures the commands `generate` and `reconstruct` write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.planning.task import task
from harness.store.runs import Run, Store
from tests.conftest import experiment

EXPERIMENT = experiment("mactok")

Command = Callable[[Sequence[str]], int]


def run_of(store: Store, stage: str) -> Run:
    return task(stage, EXPERIMENT).run_in(store)
