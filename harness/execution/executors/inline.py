"""Tasks in this process, one after another; in the processes that torchrun started; or, if small, several at once."""

from __future__ import annotations

import contextlib
import sys

from harness.execution import together
from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Demand, Options, ready
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system.processes import joined, world_size
from harness.system.signals import stop_on_signal

about = "here: one after another, small ones several at once; under torchrun in all of its processes"


def at_once(tasks: list[Task], options: Options) -> int:
    return together.room_for(tasks, options)


def execute(demand: Demand, store: Store, options: Options) -> None:
    backlog = Backlog(demand, store, options)
    waiting = backlog.fresh()
    if not waiting:
        return
    if world_size() == 1 and (count := together.processes_for(waiting, options)) > 1:
        together.execute(backlog, waiting, count)
        return
    from harness.execution.worker import Place, perform
    from harness.system.machine import this_machine

    with joined() as processes, stop_on_signal() as should_stop, contextlib.ExitStack() as stack:
        machine = this_machine()
        if processes.first and not options.quiet:
            several = f", {processes.size} processes" if processes.size > 1 else ""
            print(f"{backlog.summary} on: {machine}{several}", file=sys.stderr, flush=True)
        bar = stack.enter_context(StagesBar(backlog, 1, quiet=options.quiet or not processes.first))
        while (task := processes.from_first(_next(waiting, demand, store) if processes.first else None)) is not None:

            def stop(task: Task = task) -> bool:
                bar.refresh()
                return should_stop() or (processes.first and demand.unwanted(task))

            resources = options.cluster.resources(task.stage, task.experiment.scale)
            place = Place(machine, stop, processes, resources.execution, options.quiet)
            bar.begin(task)
            perform(task, store, demand.labels.get(task, ""), place)
            bar.end(task)
            if processes.any(should_stop()):
                raise KeyboardInterrupt
            waiting = backlog.refilled(waiting, [task]) if processes.first else []


def _next(waiting: list[Task], demand: Demand, store: Store) -> Task | None:
    """Takes the next task from `waiting` that is wanted and ready; None if there is none."""
    while waiting:
        task = waiting.pop(0)
        if ready(task, store) and not demand.unwanted(task):
            return task
    return None
