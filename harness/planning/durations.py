"""How long stages take, from earlier runs of the same stage at the same scale."""

from __future__ import annotations

import contextlib
import statistics

from harness.planning.task import Task, size_of
from harness.store.runs import Damaged, Run, Store


class Durations:
    """The seconds per unit of the finished runs of a store. It learns from every further run."""

    def __init__(self, store: Store):
        self._paces: dict[tuple[str, str], list[float]] = {}
        for run in store.runs():
            self.learn(run)

    def learn(self, run: Run) -> None:
        """Takes the time of a run into account, if it is done."""
        if run.state == "done":
            scale = run.status()["attempts"][-1]["environment"]["scale"]
            with contextlib.suppress(Damaged):  # whoever reads its result says so
                self._paces.setdefault((run.stage, scale), []).append(run.seconds / run.fact("units"))

    def seconds(self, task: Task) -> float | None:
        """The seconds that a task takes, by the median of the runs; None if there are none."""
        paces = self._paces.get((task.stage, task.experiment.scale))
        return statistics.median(paces) * size_of(task).units if paces else None
