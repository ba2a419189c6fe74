"""Stages, one file each, found by name: the units of work and of caching. A stage module offers

    revision: int                      raised whenever its results would change
    about: str                         one line
    inputs(experiment) -> tuple        the names of the stages that it reads
    size(experiment) -> Size           how much work and disk it takes
    config(experiment)                 what of the experiment it depends on by itself (hashed, with the inputs' keys)
    run(work) -> Outcome               the work; it may be stopped at any moment and called again

Planning imports these modules, so they import torch and its like inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from harness.experiment import Experiment
from harness.machine import Machine
from harness.store import Record, Run


def decoder(experiment: Experiment) -> str:
    """The stage whose weights decode in the end."""
    return "finetuning" if experiment.finetuning.on else "tokenizer"


class Stopped(Exception):
    """The stage was asked to stop, has saved what it needs to go on, and did."""


class Diverged(Exception):
    """The training's loss is not finite: the run ends here, and would again."""


@dataclass(frozen=True)
class Size:
    """Work in units of the stage's own, which tell the time from earlier runs; bytes that it leaves on disk."""

    units: float
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a stage hands to the store: its numbers, and whatever else should be remembered of it."""

    records: list[Record] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a stage gets: its experiment, its run folder, the runs of its inputs, the machine, and when to stop."""

    experiment: Experiment
    run: Run
    inputs: dict[str, Run]
    machine: Machine
    should_stop: Callable[[], bool]
    label: str
    quiet: bool = False

    def progress(self, total: int, unit: str, done: int = 0) -> tqdm:
        """A bar with rate and time left, on standard error."""
        return tqdm(total=total, initial=done, unit=unit, desc=self.label, disable=self.quiet, mininterval=0.5)

    def check_stop(self) -> None:
        """Raises `Stopped` where asked to stop: for stages that keep nothing of half-done work."""
        if self.should_stop():
            raise Stopped
