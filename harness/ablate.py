"""`python -m harness.ablate STUDY`: runs what is missing of an ablation and writes its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness import cli, plugins
from harness.errors import Mistake
from harness.estimate import plan_table
from harness.experiment import Experiment
from harness.plan import Task, tasks
from harness.store import Store
from harness.study import Row


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("ablate", __doc__.partition(": ")[2])
    cli.add_study(parser)
    cli.add_execution(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the stages, what is cached, time and disk")
    options = parser.parse_args(arguments)
    if options.list:
        print(cli.listing())
        return 0
    asked, how = cli.asked(options), cli.options_of(options)
    executor = plugins.load("harness.executors", options.executor, "executor")
    store = Store(options.runs)
    by_row = asked.experiments()
    planned = tasks([experiment for experiments in by_row.values() for experiment in experiments])
    labels = _labels(by_row, planned)
    data = planned[0].experiment.data
    require = plugins.load("harness.data", data.name, "data set").require
    if options.dry_run:
        print(plan_table(planned, labels, store))
        try:
            require(data)
        except Mistake as absent:
            print(f"The keys are provisional: {absent}.")
        return 0
    require(data)

    executor.execute(planned, store, labels, how)

    from reports.ablation import write

    print(write(asked, by_row, store, options.out))
    states = {t: t.run_in(store).state for t in planned}
    for t, state in states.items():
        if state not in ("done", "waiting"):  # what waits, waits for a stage that is named here
            reason = t.run_in(store).status()["reason"]
            print(f"{t.stage} {t.key} of {labels[t]}: {state}, {reason}", file=sys.stderr)
    if "failed" in states.values():
        print("--retry failed runs again what failed", file=sys.stderr)
    return 0 if all(state == "done" for state in states.values()) else 1


def _labels(by_row: dict[Row, list[Experiment]], planned: list[Task]) -> dict[Task, str]:
    """The rows (and seeds, where there are several) that want each task."""
    wanted: dict[Task, list[str]] = {t: [] for t in planned}
    labels = [
        (row.name if len(experiments) == 1 else f"{row.name} seed {experiment.seed}", experiment)
        for row, experiments in by_row.items()
        for experiment in experiments
    ]
    for label, experiment in labels:
        for t in tasks([experiment]):
            wanted[t].append(label)
    return {t: "all rows" if len(rows) == len(labels) > 1 else ", ".join(rows) for t, rows in wanted.items()}


if __name__ == "__main__":
    cli.run(main)
