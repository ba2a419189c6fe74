"""Tasks: the stages of experiments, with keys. Rows and studies that need the same task share it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.keys import canonical, key_of
from harness.experiments.requests import stages_of_row
from harness.experiments.scales import scale
from harness.planning.stage import Size
from harness.store.runs import Run, Store
from harness.system import plugins


@dataclass(frozen=True)
class Task:
    """One stage of one experiment. `key` is the hash of `identity`: stage, revision, configuration, inputs' keys."""

    stage: str
    key: str
    identity: dict[str, Any] = field(compare=False)
    experiment: Experiment = field(compare=False)
    inputs: dict[str, Task] = field(compare=False)

    @property
    def module(self) -> ModuleType:
        """The stage's code."""
        return plugins.load("harness.stages", self.stage, "stage")

    def run_in(self, store: Store) -> Run:
        """The run folder of this task."""
        return store.run(self.stage, self.key)


@functools.cache  # a bar wants it of all tasks several times a minute
def size_of(task: Task) -> Size:
    """The work and the disk usage of a task."""
    size: Size = task.module.size(task.experiment)
    return size


@functools.cache  # stages share inputs, and rows share stages
def task(stage: str, experiment: Experiment) -> Task:
    """The task of `stage` for `experiment`, with the tasks that it depends on."""
    module = plugins.load("harness.stages", stage, "stage")
    of_input = getattr(module, "experiment_of", lambda name, experiment: experiment)
    inputs = {name: task(name, of_input(name, experiment)) for name in module.inputs(experiment)}
    identity = {
        "stage": stage,
        "revision": module.revision,
        "config": canonical(module.config(experiment)),
        "inputs": {name: t.key for name, t in inputs.items()},
    }
    return Task(stage, key_of(identity), identity, experiment, inputs)


def tasks(experiments: list[Experiment], stages: tuple[str, ...] = ()) -> list[Task]:
    """All tasks of `stages` (default: the stages of a table's row) and of their inputs, each once, inputs first."""
    chosen = (task(stage, e) for e in experiments for stage in stages or stages_of_row(e))
    return list(dict.fromkeys(t for last in chosen for t in with_inputs(last)))


def with_inputs(task: Task) -> list[Task]:
    """`task` and all tasks that it depends on, each once, inputs first."""
    return list(dict.fromkeys([*(t for needed in task.inputs.values() for t in with_inputs(needed)), task]))


def experiment_of(run: Run) -> Experiment:
    """The experiment that `run` was made for."""
    fields = run.experiment()
    return with_fields(scale(str(fields["scale"])).experiment, fields)
