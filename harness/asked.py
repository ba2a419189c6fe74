"""What is asked of a study: planned, and remembered, one small file a request, `RUNS/asked/PAGE.json`.

A run that no remembered request wants under the present code is one that `harness.prune` removes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import plugins
from harness.errors import Mistake
from harness.experiment import Experiment
from harness.plan import Task, tasks
from harness.scales import scale
from harness.space import AskedSweep, Point, Sweep
from harness.store import Run, Store, read_json, write_json
from harness.study import Ablation, Asked, AskedAblation, Row

FOLDER = "asked"
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
    plugins.load("harness.data", data.name, "data set").require(data)


def require_weights(waiting: Iterable[Task]) -> None:
    """Raises `Mistake` where weights that tasks may read are not on this machine."""
    from harness import networks

    for experiment in dict.fromkeys(t.experiment for t in waiting):
        networks.require(experiment)


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


def remember(asked: Asked, store: Store) -> None:
    """Writes what was asked, and that it was now; of the same with fewer and more seeds the most, with points all."""
    path = store.root / FOLDER / f"{asked.page}.json"
    try:
        before = _asked(read_json(path))
    except (FileNotFoundError, ValueError, KeyError, TypeError, Mistake):  # the first time, or as good as
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        asked = dataclasses.replace(asked, seeds=max(asked.seeds, before.seeds))
        if isinstance(asked, AskedSweep) and isinstance(before, AskedSweep):
            asked = dataclasses.replace(asked, points=tuple(dict.fromkeys((*before.points, *asked.points))))
    content: dict[str, Any] = {
        "study": asked.name,
        "scale": asked.scale.experiment.scale,
        "data": asked.data,
        "fields": asked.fields,
        "rows": asked.rows,
        "seeds": asked.seeds,
        "command": asked.command,
        "at": time.time(),
    }
    if isinstance(asked, AskedSweep):
        content |= {
            "space": asked.space,
            "objective": asked.objective,
            "points": [{"row": point.row, "values": dict(point.values)} for point in asked.points],
        }
    write_json(path, content)


def _asked(content: dict[str, Any]) -> Asked:
    """What a remembered request asked; raises `Mistake`, or KeyError and the like where it is damaged."""
    study = study_called(content["study"])
    common: dict[str, Any] = {
        "name": content["study"],
        "study": study,
        "scale": scale(content["scale"]),
        "data": content["data"],
        "fields": tuple((field, value) for field, value in content["fields"]),
        "rows": tuple(content["rows"]),
        "seeds": content["seeds"],
    }
    if not isinstance(study, Sweep):
        return AskedAblation(**common)
    points = tuple(Point(point["row"], tuple(point["values"].items())) for point in content["points"])
    return AskedSweep(**common, space=tuple(content["space"]), objective=content["objective"], points=points)


def study_called(name: str) -> Ablation | Sweep:
    """The study that a file in `ablations/` declares; raises `Mistake`."""
    study: Ablation | Sweep = plugins.load("ablations", name, "study").study
    return study


@dataclass(frozen=True)
class Remembered:
    """A request that the store remembers, when it was last made (Unix time), and what it wants.

    `planned` is None where that cannot be told: its file is damaged, its data is absent, or what it names is no more.
    """

    path: Path
    study: str
    command: str
    at: float
    planned: Planned | None
    trouble: str = ""

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.path.stem

    def runs(self, store: Store) -> list[Run]:
        """The runs that it wants, made or not."""
        return [t.run_in(store) for t in self.planned.tasks] if self.planned is not None else []


def remembered(store: Store) -> list[Remembered]:
    """All requests that the store remembers, by page."""
    return [_read(path) for path in sorted((store.root / FOLDER).glob("[!.]*.json"))]


def wanted_elsewhere(asked: Asked, store: Store) -> set[Path]:
    """The folders of runs that other requests want."""
    others = (request for request in remembered(store) if request.page != asked.page)
    return {run.folder for request in others for run in request.runs(store)}


def remembered_of(asked: Asked, store: Store) -> Remembered | None:
    """The request of the same page that the store remembers, if it does."""
    path = store.root / FOLDER / f"{asked.page}.json"
    return _read(path) if path.is_file() else None


def _read(path: Path) -> Remembered:
    try:
        content = read_json(path)
        study, command, at = content["study"], content["command"], float(content["at"])
        planned = plan_of(_asked(content))
        planned.require_data()
    except Mistake as mistake:
        return Remembered(path, study, command, at, None, str(mistake))
    except (ValueError, KeyError, TypeError):
        return Remembered(path, "", "", path.stat().st_mtime, None, f"{path} is damaged")
    return Remembered(path, study, command, at, planned)
