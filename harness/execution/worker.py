"""One task in this process: lock, attempt, outcome. Every executor ends up here."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from harness.experiments.experiment import Experiment
from harness.experiments.fields import flat
from harness.planning.stage import PLAIN, Diverged, Execution, Stopped, Work
from harness.planning.task import Task
from harness.store.runs import FINAL, Damaged, Run, Store
from harness.system import plugins
from harness.system.environment import environment
from harness.system.errors import Mistake, Trouble
from harness.system.files import write_json
from harness.system.machine import Machine
from harness.system.processes import ALONE, Processes
from harness.system.progress import say

FULL_BYTES = 2**16  # free on a disk that is full


@dataclass(frozen=True)
class Place:
    """Where tasks run, and when to stop. `should_stop` of one process stops all processes."""

    machine: Machine
    should_stop: Callable[[], bool]
    processes: Processes = ALONE
    execution: Execution = PLAIN
    quiet: bool = False
    patience_seconds: float = math.inf  # how long to wait for another command that runs the same stage


def perform(task: Task, store: Store, label: str, place: Place) -> str:
    """Runs `task` unless its result exists, and returns its state. Errors are recorded in the run, not raised.

    All processes of `place` call it together.
    """
    run = task.run_in(store)
    inputs = {name: needed.run_in(store) for name, needed in task.inputs.items()}
    processes = place.processes if getattr(task.module, "parallel", False) else ALONE
    work = Work(
        task.experiment,
        run,
        inputs,
        place.machine,
        place.should_stop,
        label,
        quiet=place.quiet,
        processes=processes,
        execution=place.execution,
    )
    if not place.processes.first:
        if place.processes.from_first(False) and processes.size > 1:
            _assist(task, work)
        return place.processes.from_first("")
    acquired = _acquire(run, place)
    try:
        # Another command may have run the task while this one waited.
        if place.processes.from_first(acquired and run.state not in FINAL):
            in_step = _attempt(task, work, store)
            if not in_step and processes.size > 1:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(1)  # the others may wait for this one anywhere in the stage; they end with it
        return place.processes.from_first(run.state)
    finally:
        run.lock.release()


def _assist(task: Task, work: Work) -> None:
    """Computes a share of a stage that the first process runs and records."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / task.stage / task.key
        folder.mkdir(parents=True)
        with contextlib.suppress(Stopped, Diverged):  # the first process records it
            task.module.run(dataclasses.replace(work, run=Run(folder), run_of_first=work.run))


def _acquire(run: Run, place: Place) -> bool:
    """Waits for another command that runs the same stage. False if it has to stop meanwhile or runs out of patience."""
    announced, began = False, time.monotonic()
    while not place.should_stop() and time.monotonic() - began < place.patience_seconds:
        try:
            run.lock.acquire(timeout=1)
            return True
        except Timeout:
            if not announced:
                say(f"{run.stage} {run.key}: another process runs it, waiting")
            announced = True
    return False


def _attempt(task: Task, work: Work, store: Store) -> bool:
    """Runs the stage and records its outcome. False if other processes cannot know that it ended."""
    run = work.run
    recorded = {
        "scale": task.experiment.scale,
        "world_size": work.processes.size,
        "micro_batch_images": _micro_batch(task, work),
        "checkpointing": work.execution.checkpointing,
        "compile": work.execution.compile,
        "data_content": "",
    }
    place = _data_place(task.inputs.get("data", task).experiment)  # those of `transfer` are others
    lying: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if place is not None:
        from harness.data import indexed

        recorded["data_place"], lying = str(place), indexed.lying_in(place)
    run.begin(task.identity, environment(work.machine) | recorded)
    write_json(run.folder / "experiment.json", flat(task.experiment))
    try:
        run.note(data_content=_data_content(task, store))  # within the attempt, which ends if an input is damaged
        with lying:
            outcome = task.module.run(work)
        run.finish(outcome.records, outcome.facts | {"units": task.module.size(task.experiment).units})
        return True
    except Stopped:
        run.end("stopped", "asked to stop")
        return True
    except Diverged as error:
        run.end("diverged", str(error))
        return True
    except Damaged as error:  # `Backlog` makes the damaged run again, and then this one
        error.run.reset("damaged", str(error))
        again = "it is made again" if work.processes.size == 1 else "the same command makes it again"
        _end(work, "stopped", f"{error.problem}: {again}")
    except (Mistake, Trouble) as error:
        if task.stage == "data":  # the command itself refuses the data
            run.end("failed", str(error), error)
        else:
            _end(work, "failed", str(error), error)
    except KeyboardInterrupt:
        run.end("stopped", "interrupted")
        raise
    except Exception as error:
        if (full := _full_disk(run, error)) is not None:
            _end(work, "stopped", full)
            return False
        # OutOfMemoryError is torch's, of a device: trouble, not a bug.
        if not isinstance(error, OSError | MemoryError) and type(error).__name__ != "OutOfMemoryError":
            traceback.print_exc()
            (run.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        _end(work, "failed", f"{type(error).__name__}: {error}", error)
    return False


def _data_place(experiment: Experiment) -> Path | None:
    """The folder where the images lie that are decoded while they are read; None for other data sets."""
    module = plugins.load("harness.data.sets", experiment.data.name, "data set")
    if not getattr(module, "indexed", False):
        return None
    named = experiment.data.argument or getattr(module, "FOLDER", "")
    return Path(named).expanduser().absolute() if named else None


def _full_disk(run: Run, error: Exception) -> str | None:
    """What to do about a full disk, if that is the trouble: it comes from outside, and the same command goes on.

    numpy and torch raise errors of their own for it.
    """
    of_system = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if not of_system and shutil.disk_usage(run.folder).free > FULL_BYTES:
        return None
    file = Path(getattr(error, "filename", None) or run.folder)
    place = next((path for path in file.absolute().parents if path.is_mount()), Path("/"))
    what = os.strerror(getattr(error, "errno", None) or errno.ENOSPC)
    return f"{what}: {file}, on the disk at {place}. Make room there, and the same command goes on"


def _micro_batch(task: Task, work: Work) -> int | None:
    """Images that a process takes at once in a training; None for other stages."""
    batches = getattr(task.module, "batches", None)
    return batches(task.experiment)[0] // (work.processes.size * work.execution.accumulate) if batches else None


def _data_content(task: Task, store: Store) -> str:
    """The content hash of the data set that the task reads, directly or through other stages; "" if there is none."""
    for stage, needed in task.inputs.items():
        if stage == "data":
            return str(needed.run_in(store).fact("content"))
    return next((content for needed in task.inputs.values() if (content := _data_content(needed, store))), "")


def _end(work: Work, outcome: str, reason: str, error: Exception | None = None) -> None:
    """Ends an attempt that did not do its work, and prints why."""
    run = work.run
    of_rows = f" of {work.label}" if work.label else ""
    say(f"{run.stage} {run.key}{of_rows} {outcome}: {reason}")
    run.end(outcome, reason, error)
