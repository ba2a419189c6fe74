"""`python -m harness.ablate STUDY`: runs what is missing of an ablation and writes its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness import cli, one_step, plugins
from harness.asked import plan_of, remember, require_weights
from harness.errors import Mistake
from harness.estimate import plan_table, require_gpu_hours
from harness.executors import Fixed
from harness.processes import leading, world_size
from harness.store import Store
from harness.study import AskedAblation


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("ablate", __doc__.partition(": ")[2])
    cli.add_study(parser)
    cli.add_execution(parser)
    cli.add_price(parser)
    parser.add_argument("--one-step", action="store_true", help="rehearse every stage at full size, here and now")
    options = parser.parse_args(arguments)
    asked, how, pace = cli.asked(options), cli.options_of(options), cli.pace_of(options)
    if not isinstance(asked, AskedAblation):
        raise Mistake(f"{asked.name} is a sweep: python -m harness.sweep {asked.name} runs it")
    if options.one_step:
        return one_step.run(asked, options.quiet)
    planned = plan_of(asked)
    executor = plugins.load("harness.executors", options.executor, "executor")
    store = Store(options.runs)
    waiting = how.to_run(planned.tasks, store)
    if options.dry_run:
        print(plan_table(planned.tasks, planned.labels, store, how.cluster, pace))
        try:
            planned.require_data()
        except Mistake as absent:
            print(f"The keys are provisional: {absent}.")
    else:
        planned.require_data()
        require_weights(waiting)
    require_gpu_hours(waiting, pace, options.max_gpu_hours)
    if options.dry_run:
        return 0
    processes = None if hasattr(executor, "queue") else world_size()
    if processes is None and world_size() > 1:
        raise Mistake(f"torchrun starts the processes of --executor inline; cluster.toml those of {options.executor}")
    how.require_even(waiting, processes)
    if waiting and hasattr(executor, "require"):
        executor.require(waiting, how)
    if leading():
        remember(asked, store)

    executor.execute(Fixed(planned.labels), store, how)
    if not leading():
        return 0

    from reports.ablation import write

    print(write(asked, store, options.out))
    states = {t: t.run_in(store).state for t in planned.tasks}
    for t, state in states.items():
        if state not in ("done", "waiting"):  # what waits, waits for a stage that is named here
            reason = t.run_in(store).status()["reason"]
            print(f"{t.stage} {t.key} of {planned.labels[t]}: {state}, {reason}", file=sys.stderr)
    if "failed" in states.values():
        print("--retry failed runs again what failed", file=sys.stderr)
    return 0 if all(state == "done" for state in states.values()) else 1


if __name__ == "__main__":
    cli.run(main)
