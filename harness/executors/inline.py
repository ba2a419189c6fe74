"""Tasks one after another in this process, or in the processes that torchrun started."""

from __future__ import annotations

import sys

from harness.executors import Options, ready
from harness.plan import Task
from harness.processes import joined
from harness.signals import stop_on_signal
from harness.store import Store

about = "one after another in this process; under torchrun, in all of its processes"


def execute(planned: list[Task], store: Store, labels: dict[Task, str], options: Options) -> None:
    waiting = options.to_run(planned, store)
    if not waiting:
        return
    from harness.machine import this_machine
    from harness.worker import Place, perform

    with joined() as processes, stop_on_signal() as should_stop:
        machine = this_machine()
        waiting = processes.from_first(waiting)
        if processes.first and not options.quiet:
            several = f", {processes.size} processes" if processes.size > 1 else ""
            print(f"{len(waiting)} of {len(planned)} stages to run on: {machine}{several}", file=sys.stderr, flush=True)
        for number, task in enumerate(waiting, 1):
            if processes.from_first(ready(task, store)):
                resources = options.cluster.resources(task.stage, task.experiment.scale)
                place = Place(machine, should_stop, processes, resources.accumulate, options.quiet)
                perform(task, store, f"[{number}/{len(waiting)}] {task.stage} {labels[task]}", place)
            if processes.any(should_stop()):
                raise KeyboardInterrupt
