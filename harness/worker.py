"""One task in this process: lock, attempt, outcome. Every executor ends up here."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from filelock import Timeout

from harness.errors import Mistake, Trouble
from harness.experiment import flat
from harness.machine import Machine, environment
from harness.plan import Task
from harness.stages import Diverged, Stopped, Work
from harness.store import FINAL, Damaged, Run, Store, write_json


def perform(
    task: Task, store: Store, machine: Machine, label: str, should_stop: Callable[[], bool], quiet: bool
) -> str:
    """Runs `task` unless its result is there, and returns its state; trouble ends in the run's status, not here."""
    run = task.run_in(store)
    inputs = {name: needed.run_in(store) for name, needed in task.inputs.items()}
    work = Work(task.experiment, run, inputs, machine, should_stop, label, quiet)
    if not _acquire(run, should_stop):
        return run.state
    try:
        if run.state not in FINAL:  # else another process made it while this one waited
            _attempt(task, work, _data_content(task, store))
    finally:
        run.lock.release()
    return run.state


def _acquire(run: Run, should_stop: Callable[[], bool]) -> bool:
    """Waits for another process that runs the same stage; False where asked to stop meanwhile."""
    told = False
    while not should_stop():
        try:
            run.lock.acquire(timeout=1)
            return True
        except Timeout:
            if not told:
                print(f"{run.stage} {run.key}: another process runs it, waiting", file=sys.stderr, flush=True)
            told = True
    return False


def _attempt(task: Task, work: Work, data_content: str) -> None:
    run = work.run
    recorded = {
        "scale": task.experiment.scale,
        "micro_batch_images": _batches(task),
        "data_content": data_content,
    }
    run.begin(task.identity, environment(work.machine) | recorded)
    write_json(run.folder / "experiment.json", flat(task.experiment))
    try:
        outcome = task.module.run(work)
        run.finish(outcome.records, outcome.facts | {"units": task.module.size(task.experiment).units})
    except Stopped:
        run.end("stopped", "asked to stop")
    except Diverged as error:
        run.end("diverged", str(error))
    except Damaged as error:
        error.run.set_state("damaged", str(error))
        _fail(run, str(error))
    except (Mistake, Trouble) as error:
        _fail(run, str(error))
    except (OSError, MemoryError) as error:
        _fail(run, f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        run.end("stopped", "interrupted")
        raise
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, of a device: trouble, not a bug
            traceback.print_exc()
            (run.folder / "error.txt").write_text(traceback.format_exc())
        _fail(run, f"{type(error).__name__}: {error}")


def _batches(task: Task) -> dict[str, int]:
    """Images in every step of the two trainings."""
    experiment = task.experiment
    return {"tokenizer": experiment.training.batch_images, "generator": experiment.generator.training.batch_images}


def _data_content(task: Task, store: Store) -> str:
    """The content hash of the data set that the task reads, through whatever stages; "" where it reads none."""
    for stage, needed in task.inputs.items():
        if stage == "data":
            return str(needed.run_in(store).result()["facts"]["content"])
    return next((found for needed in task.inputs.values() if (found := _data_content(needed, store))), "")


def _fail(run: Run, reason: str) -> None:
    print(f"{run.stage} {run.key} failed: {reason}", file=sys.stderr, flush=True)
    run.end("failed", reason)
