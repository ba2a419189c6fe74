"""The arguments of executors: a demand for tasks, and options for running them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

from harness.planning.cluster import Cluster
from harness.planning.stage import require_even
from harness.planning.task import Task, with_inputs
from harness.store.runs import FINAL, OVER, Store
from harness.system.processes import world_size
from harness.system.texts import counted

WORKERS = 2  # tasks at a time, where neither the user nor the executor chooses


class Demand(Protocol):
    """The tasks that a command wants. Executors ask again and again: a trial of a sweep depends on earlier trials."""

    @property
    def labels(self) -> dict[Task, str]:
        """The rows that want each task, for messages."""

    def wanted(self) -> list[Task]:
        """All tasks that are wanted by now, inputs before their readers."""

    def unwanted(self, task: Task) -> bool:
        """Whether a task that was wanted may stop. Executors ask at every step of the task."""

    def ahead(self) -> list[Task]:
        """Tasks like those that will be wanted later, as many as can be foreseen: for the time left."""


@dataclass(frozen=True)
class Fixed:
    """A demand for tasks that are all known from the start. `labels` names the rows that want each task."""

    labels: dict[Task, str]

    def wanted(self) -> list[Task]:
        return list(self.labels)

    def unwanted(self, task: Task) -> bool:
        return False

    def ahead(self) -> list[Task]:
        return []


@dataclass(frozen=True)
class Options:
    """How to run: resources of jobs, tasks at a time on this machine, whether to retry failed tasks, no progress.

    Data that were refused are tried again in any case.
    `workers` None leaves the number to the executor.
    """

    cluster: Cluster = field(default_factory=Cluster)
    workers: int | None = None
    retry_failed: bool = False
    quiet: bool = False

    def to_run(self, planned: list[Task], store: Store, before: Collection[Task] = ()) -> list[Task]:
        """The tasks of `planned` that have to run, without failed tasks that are not retried and without their readers.

        `before` are tasks that run or will run, and that `planned` may read.
        """
        runnable: dict[Task, None] = {}
        for t in planned:
            inputs = t.inputs.values()
            possible = all(i in runnable or i in before or i.run_in(store).state == "done" for i in inputs)
            again = self.retry_failed or t.stage == "data"  # somebody may have mended the images
            if possible and t.run_in(store).state not in (FINAL if again else OVER):
                runnable[t] = None
        return list(runnable)

    def require(self, executor: ModuleType, waiting: list[Task], store: Store) -> None:
        """Raises `Mistake` if an executor cannot take these tasks. Jobs have the processes of the cluster file."""
        self.require_even(waiting, None if hasattr(executor, "queue") else world_size())
        if waiting and hasattr(executor, "require"):
            executor.require(waiting, store, self)

    def require_even(self, waiting: list[Task], processes: int | None) -> None:
        """Raises `Mistake` if `processes`, by default those of the cluster file, cannot share a batch evenly."""
        for t in waiting:
            resources = self.cluster.resources(t.stage, t.experiment.scale)
            if hasattr(t.module, "batches"):
                size = resources.nodes * resources.processes if processes is None else processes
                require_even(t.module.batches(t.experiment), size, resources.accumulate)


def ready(task: Task, store: Store) -> bool:
    """Whether all inputs of `task` are done."""
    return all(needed.run_in(store).state == "done" for needed in task.inputs.values())


class Backlog:
    """The tasks of a demand that were taken up to be run. It grows with the demand."""

    def __init__(self, demand: Demand, store: Store, options: Options):
        self.demand, self.store, self.options = demand, store, options
        self.taken: dict[Task, None] = {}
        self._wanted: set[Task] = set()
        self._every: set[Task] = set()
        self._remade: dict[Task, set[Task]] = {}  # lost inputs, and the readers that ran again for each
        self._again: set[Task] = set()

    def fresh(self) -> list[Task]:
        """The tasks that have to run and were not wanted at the last call."""
        self._wanted = {t for t in self._wanted if not self.demand.unwanted(t)}
        wanted = self.demand.wanted()
        new = [t for t in wanted if t not in self._wanted]
        self._wanted = set(wanted)
        self._every |= self._wanted
        runnable = self.options.to_run(new, self.store, self.taken)
        self.taken |= dict.fromkeys(runnable)
        return runnable

    def refilled(self, waiting: list[Task], ended: Iterable[Task]) -> list[Task]:
        """`waiting` without tasks that are no longer wanted, with those to run again, and with new ones; each once."""
        still = [t for t in (*self.again(ended), *waiting) if not self.demand.unwanted(t)]
        return list(dict.fromkeys([*still, *self.fresh()]))

    def again(self, ended: Iterable[Task]) -> list[Task]:
        """The tasks of `ended` that ended because inputs, direct or further up, were lost; after those inputs.

        An input whose files are gone stops its reader. It is made again once in a command, and each reader runs again.
        """
        again: list[Task] = []
        for task in ended:
            inputs = with_inputs(task)[:-1]
            remade = self._repeated([t for t in inputs if t not in self._remade and self._lost(t, task)])
            self._remade |= {t: set() for t in remade}
            again += remade
            readers_of_remade = [self._remade[t] for t in inputs if t in self._remade]
            if any(task not in readers for readers in readers_of_remade):
                again += self._repeated([task])
            for readers in readers_of_remade:
                readers.add(task)
        return again

    def _lost(self, task: Task, reader: Task) -> bool:
        """Whether `reader` ended because the result of `task` was lost. Another command may be making it again."""
        state, of_reader = task.run_in(self.store).state, reader.run_in(self.store).state
        if of_reader == "stopped":
            return state not in ("done", "failed")
        return of_reader in ("waiting", "damaged") and state == "damaged"

    def _repeated(self, tasks: list[Task]) -> list[Task]:
        """Those of `tasks` that can run once more."""
        runnable = self.options.to_run(tasks, self.store, self._again)
        self._again |= set(runnable)
        self.taken |= dict.fromkeys(runnable)
        return runnable

    @property
    def summary(self) -> str:
        """How many of the wanted tasks have to run, for people."""
        return f"{len(self.taken)} of {counted(len(self._every), 'stage')} to run{self.so_far}"

    @property
    def so_far(self) -> str:
        """What numbers of stages are told with while more will follow: those of the trials to come."""
        return " so far" if self.demand.ahead() else ""
