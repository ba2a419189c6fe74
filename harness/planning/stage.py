"""What every stage is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.experiments.experiment import Experiment
from harness.store.records import Record
from harness.store.runs import Run
from harness.system.errors import Mistake
from harness.system.machine import Machine
from harness.system.processes import ALONE, Processes
from harness.system.progress import Progress


@dataclass(frozen=True)
class Execution:
    """Recorded with every attempt, never hashed.

    The adaptive weight of an adversarial term alone depends on the parts of a batch by more than rounding: it is a
    quotient of the gradients of each.

    `accumulate`: in how many parts, one after another, a process takes its share of a batch. `checkpointing`: the
    activations within transformer blocks are computed again for the backward pass and not kept (Chen et al. 2016): a
    third more time, the same bits. `compile`: transformer blocks are compiled by torch, which needs a C++ compiler.
    """

    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False


PLAIN = Execution()


def require_even(batches: tuple[int, ...], processes: int, accumulate: int) -> None:
    """Raises `Mistake` where processes that take their share in `accumulate` parts cannot share batches evenly."""
    for images in batches:
        if images % (processes * accumulate):
            raise Mistake(
                f"{images} of the {batches[0]} images of a batch do not split evenly over {processes} processes "
                f"that take their share in {accumulate} parts"
            )


def tokenizer_batches(experiment: Experiment) -> tuple[int, ...]:
    """The images of a batch of a tokenizer's training, and of the part that the perceptual distance looks at."""
    images, perceptual = experiment.training.batch_images, experiment.tokenizer.perceptual
    return (images, round(perceptual.batch_share * images)) if perceptual.on else (images,)


Item = TypeVar("Item")
Result = TypeVar("Result")


def decoder(experiment: Experiment) -> str:
    """The stage whose weights decode in the end."""
    return "finetuning" if experiment.finetuning.on else "tokenizer"


class Stopped(Exception):
    """The stage was asked to stop, has saved what it needs to go on, and did."""


class Diverged(Exception):
    """The training's loss is not finite: the run ends here, and would again."""


@dataclass(frozen=True)
class Size:
    """Work in units of the stage's own, which tell the time from earlier runs; bytes that it leaves on disk.

    `flops` are model FLOPs as `harness.networks.flops` counts them, `samples` the images that a generator draws.
    """

    units: float
    bytes: int
    flops: float = 0.0
    samples: int = 0


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
    processes: Processes = ALONE
    execution: Execution = PLAIN
    run_of_first: Run | None = None  # where this process is not the first

    @property
    def shared(self) -> Path:
        """The folder of the first process's run, on a disk that all processes see; it is there after `check_stop`."""
        return (self.run_of_first or self.run).folder

    def progress(self, total: int, unit: str, done: int = 0) -> Progress:
        """A bar with rate and time left, on standard error, and what `harness.status` reads."""
        return Progress(self.run.folder, total, unit, done, self.label, self.quiet or not self.processes.first)

    def damaged(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The fact `damaged`: the images that could not be read in the middle of the work, in whichever process."""
        every = sorted({name for part in self.processes.gather(list(names)) for name in part})
        return {"damaged": every} if every else {}

    def check_stop(self) -> None:
        """Raises `Stopped`, in all processes, where one was asked to stop."""
        if self.processes.any(self.should_stop()):
            raise Stopped

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function` of every item, in order: the processes share the items, and all get all results."""
        items, size = list(items), self.processes.size
        for start in range(0, len(items), size):
            self.check_stop()
            mine = function(items[start + self.processes.rank]) if start + self.processes.rank < len(items) else None
            yield from self.processes.gather(mine)[: len(items) - start]  # type: ignore[misc]
