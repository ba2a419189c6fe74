"""The plan of a request: its experiments by row, and their tasks."""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiments.experiment import Experiment
from harness.experiments.requests import Asked, AskedSweep, Point
from harness.experiments.study import Row
from harness.planning.task import Task, task, tasks
from harness.system import plugins
from harness.system.errors import Mistake

NAMED = 7  # rows in a label


@dataclass(frozen=True)
class Planned:
    """What a study command is about: what was asked, its experiments by row, their tasks, the rows that want each."""

    asked: Asked
    by_row: dict[Row, list[Experiment]]
    labels: dict[Task, str]

    @property
    def tasks(self) -> list[Task]:
        """Every task once, inputs before their readers."""
        return list(self.labels)

    def require_data(self) -> None:
        """Raises `Mistake` where the data is not on this machine; the keys are provisional then."""
        require_data(self.asked)


def require_data(asked: Asked) -> None:
    """Raises `Mistake` where the data that was asked for is not on this machine."""
    data = asked.experiment(asked.study.rows[0]).data
    plugins.load("harness.data.sets", data.name, "data set").require(data)


def plan_of(asked: Asked) -> Planned:
    """The plan of what was asked; raises `Mistake`."""
    by_row = asked.experiments()
    named = [
        (row.name if len(experiments) == 1 else f"{row.name} seed {experiment.seed}", experiment)
        for row, experiments in by_row.items()
        for experiment in experiments
    ]
    wanted: dict[Task, list[str]] = {}
    for name, experiment in named:
        for t in tasks([experiment], asked.stages(experiment)):
            wanted.setdefault(t, []).append(name)
    return Planned(asked, by_row, {t: _label(names, len(named)) for t, names in wanted.items()})


def _label(names: list[str], of: int) -> str:
    """Who wants a task."""
    if len(names) == of > 1:
        return "all rows"
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} rows"


def require_influence(asked: AskedSweep) -> None:
    """Raises `Mistake` where an axis leaves every objective as it is."""
    point = asked.middle()
    for a in asked.axes:
        keys = set()
        for value in {*a.grid, *(end for end in (a.low, a.high) if end is not None)}:
            moved = Point(point.row, tuple((f, value if f == a.field else v) for f, v in point.values))
            keys |= {task(o.stage, e).key for o in asked.objectives for e in asked.experiments_of(moved)[:1]}
        if len(keys) == len(asked.objectives) and len(a.grid) != 1:
            raise Mistake(f"{a.field} has no influence on {' and '.join(o.title for o in asked.objectives)}")
