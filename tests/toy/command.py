"""`python -m toy`: the toy stages of so many seeds, with the execution options of every command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness import cli
from harness.execution import jobs
from harness.execution.demand import Fixed
from harness.experiments.scales import scale
from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system import plugins

jobs.LOST_SECONDS = 2.0


@cli.going_on()
def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("toy", "runs the toy stages")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--quiet", action="store_true")
    cli.add_execution(parser)
    options = parser.parse_args(arguments)
    executor = plugins.load("harness.execution.executors", options.executor, "executor")
    base, store = scale("smoke").experiment, Store(options.runs)
    planned = tasks([dataclasses.replace(base, seed=seed) for seed in range(options.rows)], ("toy_sum",))
    labels = {t: f"seed {t.experiment.seed}" for t in planned}
    how = cli.options_of(options)
    waiting = how.to_run(planned, store)
    if waiting and hasattr(executor, "require"):
        executor.require(waiting, store, how)
    executor.execute(Fixed(labels), store, how)
    states = [t.run_in(store).state for t in planned]
    print(*states)
    return 0 if set(states) == {"done"} else 1


if __name__ == "__main__":
    cli.run(main)
