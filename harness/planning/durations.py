"""How long stages take, from earlier runs of the same stage at the same scale."""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
from dataclasses import dataclass

from harness.planning.stage import Size
from harness.planning.task import Task, experiment_of, size_of
from harness.store.curves import CURVES
from harness.store.runs import Damaged, Run, Store
from harness.system import plugins
from harness.system.errors import Mistake

MACHINE = ("host", "processor", "device")  # names of the environment
EQUAL = 1.01  # a larger ratio is another number of FLOPs
MOST = 10  # times as many FLOPs as a run had, or as few: beyond, its time says nothing


@dataclass(frozen=True)
class Earlier:
    """A finished run, and what its time depends on."""

    run: Run
    seconds_per_unit: float
    machine: tuple[str | None, ...]

    @functools.cached_property
    def flops_per_unit(self) -> float:
        """The FLOPs of a unit of its work; 0 if they are unknown."""
        try:
            experiment = experiment_of(self.run)
            return _flops_per_unit(plugins.load("harness.stages", self.run.stage, "stage").size(experiment))
        except (Mistake, Damaged, KeyError):  # fields of another version, or of a plug-in that is not there
            return 0.0


class Durations:
    """The times of the finished runs of a store. It learns from every further run."""

    def __init__(self, store: Store):
        self._runs: dict[tuple[str, str], list[Earlier]] = {}
        self._machines: set[tuple[str | None, ...]] = set()  # those that work for this store
        for run in store.runs():
            self.learn(run)

    def learn(self, run: Run) -> None:
        """Takes the time of a run into account, if it is done."""
        if run.state != "done":
            return
        environment = run.status()["attempts"][-1]["environment"]
        with contextlib.suppress(Damaged):  # whoever reads its result says so
            machine = tuple(environment.get(name) for name in MACHINE)
            earlier = Earlier(run, run.seconds / run.fact("units"), machine)
            self._runs.setdefault((run.stage, environment["scale"]), []).append(earlier)
            if _made_here(run):
                self._machines.add(machine)

    def seconds(self, task: Task) -> float | None:
        """The seconds that a task takes; None if no run of its stage at its scale, and of about its size, is done.

        The median of the runs whose FLOPs are nearest to its own, times the ratio of both. Runs that another machine
        made, and that came as text, count only if there are no others.
        """
        runs = self._runs.get((task.stage, task.experiment.scale), [])
        runs = [earlier for earlier in runs if earlier.machine in self._machines] or runs
        if not runs:
            return None
        size = size_of(task)
        own = _flops_per_unit(size)
        ratios = {e: own / e.flops_per_unit for e in runs if own and e.flops_per_unit} or dict.fromkeys(runs, 1.0)
        nearest = min(abs(math.log(ratio)) for ratio in ratios.values()) + math.log(EQUAL)
        if nearest > math.log(MOST):
            return None
        paces = [e.seconds_per_unit * ratio for e, ratio in ratios.items() if abs(math.log(ratio)) <= nearest]
        return statistics.median(paces) * size.units


def _flops_per_unit(size: Size) -> float:
    return size.flops / size.units if size.units else 0.0


def _made_here(run: Run) -> bool:
    """Whether a run has its files: one that came as text has its curves at most."""
    names = [name for name in run.result()["files"] if name != CURVES]
    return bool(names) and all((run.folder / name).exists() for name in names)
