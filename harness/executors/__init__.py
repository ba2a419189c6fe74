"""Executors: where tasks run, one file each. They know tasks and their dependencies, nothing of tokenizers. Each offers

    about: str                               one line
    execute(planned, store, labels, options) runs what is unfinished of `planned`, inputs first; a task whose input
                                             failed is left, the others go on. Raises KeyboardInterrupt where a signal
                                             asked to stop, after whatever is needed to go on was saved.

and those that submit jobs also

    require(waiting, options)                optional: raises Mistake where it could not run those tasks
    queue(jobs) -> dict                      the state of each job, by id, that waits or runs
    cancel(jobs)                             ends jobs; what they were doing stays fit to go on
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cluster import Cluster
from harness.plan import Task
from harness.stages import require_even
from harness.store import FINAL, Store


@dataclass(frozen=True)
class Options:
    """How to run: what jobs get, how many at a time here, whether what failed is tried again, progress or none."""

    cluster: Cluster = field(default_factory=Cluster)
    workers: int = 2
    retry_failed: bool = False
    quiet: bool = False

    def to_run(self, planned: list[Task], store: Store) -> list[Task]:
        """Those of `planned` that have no result, but for what failed and is left so, and whatever reads that."""
        settled = FINAL if self.retry_failed else (*FINAL, "failed")
        found: dict[Task, None] = {}
        for t in planned:
            possible = all(needed in found or needed.run_in(store).state == "done" for needed in t.inputs.values())
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
