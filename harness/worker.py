"""One task in this process: lock, attempt, outcome. Every executor ends up here."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from harness.errors import Mistake, Trouble
from harness.machine import Machine, environment
from harness.plan import Task
from harness.stages import Diverged, Stopped, Work
from harness.store import FINAL, Damaged, Run, Store


def perform(
    task: Task, store: Store, machine: Machine, label: str, should_stop: Callable[[], bool], quiet: bool
) -> str:
    """Runs `task` unless its result is there, and returns its state; trouble ends in the run's status, not here."""
    run = task.run_in(store)
    with run.lock():  # whoever waited here finds the result that the other one made
        if run.state in FINAL:
            return run.state
        run.begin(task.identity, environment(machine) | {"scale": task.experiment.scale})
        inputs = {name: needed.run_in(store) for name, needed in task.inputs.items()}
        work = Work(task.experiment, run, inputs, machine, should_stop, label, quiet)
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
        except (Mistake, Trouble, OSError, MemoryError) as error:
            _fail(run, f"{type(error).__name__}: {error}" if isinstance(error, (OSError, MemoryError)) else str(error))
        except KeyboardInterrupt:
            run.end("stopped", "interrupted")
            raise
        except Exception as error:
            traceback.print_exc()
            (run.folder / "error.txt").write_text(traceback.format_exc())
            _fail(run, f"{type(error).__name__}: {error}")
        return run.status()["state"]


def _fail(run: Run, reason: str) -> None:
    print(f"{run.stage} {run.key} failed: {reason}", file=sys.stderr, flush=True)
    run.end("failed", reason)
