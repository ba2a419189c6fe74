"""The input and the result of every stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.experiments.experiment import FEWEST, Experiment
from harness.store.records import Record
from harness.store.runs import Run
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.machine import Machine
from harness.system.processes import ALONE, Processes
from harness.system.progress import Progress
from harness.system.texts import counted


@dataclass(frozen=True)
class Execution:
    """How a process computes a training step. It is recorded with every attempt, never hashed.

    `accumulate`: the number of parts, one after another, in which a process computes its share of a batch. Like the
    number of processes, it changes results by rounding only as far as the loss is a mean over images. These are not,
    and are taken over each part: the entropy of soft codes, free bits, auxiliary decoders where every image has its own
    mask ratio, and the ratios of gradients that weigh the adversarial and the foundation term. `checkpointing`: the
    backward pass computes the activations within transformer blocks again instead of keeping them (Chen et al. 2016): a
    third more time, the same bits. `compile`: torch compiles transformer blocks, which needs a C++ compiler.
    """

    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False


PLAIN = Execution()


def require_even(batches: tuple[int, ...], processes: int, accumulate: int) -> None:
    """Raises `Mistake` if batches do not split evenly over processes and the `accumulate` parts of their shares."""
    for images in batches:
        if images % (processes * accumulate):
            raise Mistake(
                f"{images} of the {batches[0]} images of a batch do not split evenly over {processes} processes "
                f"that take their share in {accumulate} parts"
            )


def tokenizer_batches(experiment: Experiment) -> tuple[int, ...]:
    """The images of a batch of a tokenizer's training, and of the part of it that the perceptual term uses."""
    images, perceptual = experiment.training.batch_images, experiment.tokenizer.perceptual
    return (images, round(perceptual.batch_share * images)) if perceptual.on else (images,)


def require_images(experiment: Experiment, counts: dict[str, int]) -> None:
    """Raises `Mistake` if a split has fewer images than a batch or a metric takes. `counts` has the images by split."""
    generator = experiment.generator
    of_generator = generator.training.batch_images * generator.on
    split_by = getattr(plugins.load("harness.data.sets", experiment.data.name, "data set"), "held_out", "")
    of_val = f"add images ({split_by})" if split_by else "add images"
    needs = [
        ("train", experiment.training.batch_images, "a batch takes", _smaller("training", counts)),
        ("train", of_generator, "a batch takes", _smaller("generator.training", counts)),
        ("train", FEWEST, "metrics take", "add images"),
        ("val", FEWEST, "metrics take", of_val),
    ]
    few = [
        f"{split} has {counted(count, 'image')}, and {why} at least {needed}: {remedy}"
        for split, needed, why, remedy in needs
        if (count := counts[split]) < needed
    ]
    if few:
        raise Mistake("; ".join(few))


def _smaller(training: str, counts: dict[str, int]) -> str:
    """What to do if a batch of a training takes more images than `train` has."""
    return f"add images, or --set {training}.batch_images={counts['train']}"


Item = TypeVar("Item")
Result = TypeVar("Result")


def decoder(experiment: Experiment) -> str:
    """The stage whose weights the final decoder has."""
    return "finetuning" if experiment.finetuning.on else "tokenizer"


class Stopped(Exception):
    """The stage stopped on request, after it saved the state that it needs to go on."""


class Diverged(Exception):
    """The training loss is not finite. The run ends; another attempt would end in the same way."""


@dataclass(frozen=True)
class Size:
    """The work of a stage in units that it chooses, and the bytes that it leaves on disk.

    With the units the time is estimated from earlier runs.

    `flops` are model FLOPs as `harness.networks.flops` counts them, `samples` the images that a generator draws.
    """

    units: float
    bytes: int
    flops: float = 0.0
    samples: int = 0


@dataclass(frozen=True)
class Outcome:
    """The result that a stage gives to the store: its numbers, and other facts."""

    records: list[Record] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """The input of a stage: its experiment, its run, the runs of its inputs, the machine, and when to stop."""

    experiment: Experiment
    run: Run
    inputs: dict[str, Run]
    machine: Machine
    should_stop: Callable[[], bool]
    label: str
    quiet: bool = False
    processes: Processes = ALONE
    execution: Execution = PLAIN
    run_of_first: Run | None = None  # if this process is not the first

    @property
    def shared(self) -> Path:
        """The folder of the first process's run, on a disk that all processes see; it exists after `check_stop`."""
        return (self.run_of_first or self.run).folder

    def progress(self, total: int, unit: str, done: int = 0) -> Progress:
        """The file that the bar of the command and `harness.status` read."""
        return Progress(self.run.folder, total, unit, done)

    def damaged(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The fact `damaged`: the images that any process could not read during the work."""
        damaged = sorted({name for part in self.processes.gather(list(names)) for name in part})
        return {"damaged": damaged} if damaged else {}

    def check_stop(self) -> None:
        """Raises `Stopped` in all processes if any of them got a request to stop."""
        if self.processes.any(self.should_stop()):
            raise Stopped

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of `function` for all items, in order. The processes share the items; each gets all results."""
        items, size = list(items), self.processes.size
        for start in range(0, len(items), size):
            self.check_stop()
            index = start + self.processes.rank
            result = function(items[index]) if index < len(items) else None
            yield from self.processes.gather(result)[: len(items) - start]  # type: ignore[misc]
