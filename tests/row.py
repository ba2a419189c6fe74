"""`python -m tests.row RUNS ACCUMULATE STOP_AT`: a very small row in float32, in the processes that the environment
tells of. The first is asked to stop at step STOP_AT of the tokenizer (0: never), as by a signal.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path

from harness.execution.worker import Place, perform
from harness.planning.stage import Execution
from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system.machine import Machine, this_machine
from harness.system.processes import joined
from tests.conftest import experiment

STAGES = ("finetuning", "generation")
SMALL = {
    "data__train_images": 64,
    "data__val_images": 32,
    "training__steps": 6,
    "training__warmup_steps": 1,
    "generator__training__steps": 6,
    "generator__training__warmup_steps": 1,
    "evaluation__metrics_px": 32,
    "evaluation__kid_subset_images": 16,
    "evaluation__kid_subsets": 2,
    "guidance__scales": (1.5, 2.0),
    "guidance__search_images": 260,  # more than a batch, so that there is something to share
    "sampling__images": 300,
    "sampling__steps": 2,
}
ROW = experiment("mactok", **SMALL)


def main(runs: Path, accumulate: int, stop_at: int) -> None:
    this_machine()  # deterministic kernels; its dtype is not used, as sums in bfloat16 would hide small mistakes
    with joined() as processes:
        for task in tasks([ROW], STAGES):
            counted = task.stage == "tokenizer" and processes.first and stop_at
            steps = itertools.count() if counted else itertools.repeat(-1)
            should_stop = partial(lambda steps: next(steps) >= stop_at, steps)
            place = Place(Machine("cpu", "float32", 1), should_stop, processes, Execution(accumulate), quiet=True)
            state = perform(task, Store(runs), "", place)
            if state != "done":
                print(task.stage, state)
                break


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
