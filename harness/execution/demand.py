"""What executors are given: a demand for tasks, and how to run them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from harness.planning.cluster import Cluster
from harness.planning.stage import require_even
from harness.planning.task import Task
from harness.store.runs import FINAL, Store


class Demand(Protocol):
    """What a command wants run. Executors ask it again and again: one trial of a sweep comes of those before."""

    labels: dict[Task, str]

    def wanted(self) -> list[Task]:
        """Every task that is wanted by now, inputs before their readers."""

    def unwanted(self, task: Task) -> bool:
        """Whether a task that was wanted need not go on; asked at every step of it."""


@dataclass(frozen=True)
class Fixed:
    """A demand of tasks that are known from the start, with the rows that want each."""

    labels: dict[Task, str]

    def wanted(self) -> list[Task]:
        return list(self.labels)

    def unwanted(self, task: Task) -> bool:
        return False


@dataclass(frozen=True)
class Options:
    """How to run: what jobs get, how many at a time here, whether what failed is tried again, progress or none."""

    cluster: Cluster = field(default_factory=Cluster)
    workers: int = 2
    retry_failed: bool = False
    quiet: bool = False

    def to_run(self, planned: list[Task], store: Store, before: Collection[Task] = ()) -> list[Task]:
        """Those of `planned` that have no result, but for what failed and is left so, and whatever reads that.

        `before` are tasks that run or will, and that `planned` may read.
        """
        settled = FINAL if self.retry_failed else (*FINAL, "failed")
        found: dict[Task, None] = {}
        for t in planned:
            inputs = t.inputs.values()
            possible = all(i in found or i in before or i.run_in(store).state == "done" for i in inputs)
            if possible and t.run_in(store).state not in settled:
                found[t] = None
        return list(found)

    def require_even(self, waiting: list[Task], processes: int | None) -> None:
        """Raises `Mistake` where a batch cannot be shared evenly by `processes`, or by those of the cluster file."""
        for t in waiting:
            resources = self.cluster.resources(t.stage, t.experiment.scale)
            if hasattr(t.module, "batches"):
                size = resources.nodes * resources.processes if processes is None else processes
                require_even(t.module.batches(t.experiment), size, resources.accumulate)


def ready(task: Task, store: Store) -> bool:
    """Whether all that `task` reads is there."""
    return all(needed.run_in(store).state == "done" for needed in task.inputs.values())


class Backlog:
    """What of a demand was taken up to be run, as the demand grows."""

    def __init__(self, demand: Demand, store: Store, options: Options):
        self.demand, self.store, self.options = demand, store, options
        self.taken: dict[Task, None] = {}
        self._wanted: set[Task] = set()
        self._every: set[Task] = set()

    def fresh(self) -> list[Task]:
        """What has to be run and was not wanted a moment ago."""
        self._wanted = {t for t in self._wanted if not self.demand.unwanted(t)}
        wanted = self.demand.wanted()
        new = [t for t in wanted if t not in self._wanted]
        self._wanted = set(wanted)
        self._every |= self._wanted
        found = self.options.to_run(new, self.store, self.taken)
        self.taken |= dict.fromkeys(found)
        return found

    def refilled(self, waiting: list[Task]) -> list[Task]:
        """`waiting` without what nobody wants any more, and what has come anew; each once."""
        still = [t for t in waiting if not self.demand.unwanted(t)]
        return list(dict.fromkeys([*still, *self.fresh()]))

    @property
    def told(self) -> str:
        """How much of it, for people."""
        return f"{len(self.taken)} of {len(self._every)} stages to run"
