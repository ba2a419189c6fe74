"""What is asked of a study: planned, and remembered, one small file a request, `RUNS/asked/PAGE.json`.

A run that no remembered request wants under the present code is one that `harness.prune` removes.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from harness import plugins
from harness.errors import Mistake
from harness.experiment import Experiment
from harness.plan import Task, tasks
from harness.scales import scale
from harness.store import Run, Store, read_json, write_json
from harness.study import Asked, Row

FOLDER = "asked"


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
        data = self.tasks[0].experiment.data
        plugins.load("harness.data", data.name, "data set").require(data)


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
        for t in tasks([experiment]):
            wanted.setdefault(t, []).append(name)
    labels = {t: "all rows" if len(names) == len(named) > 1 else ", ".join(names) for t, names in wanted.items()}
    return Planned(asked, by_row, labels)


def remember(asked: Asked, store: Store) -> None:
    """Writes what was asked, and that it was now; of the same with fewer and more seeds, the most."""
    path = store.root / FOLDER / f"{asked.page}.json"
    try:
        asked = dataclasses.replace(asked, seeds=max(asked.seeds, read_json(path)["seeds"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # the first time, or as good as
        path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "study": asked.name,
        "scale": asked.scale.experiment.scale,
        "data": asked.data,
        "fields": asked.fields,
        "rows": asked.rows,
        "seeds": asked.seeds,
        "command": asked.command,
        "at": time.time(),
    }
    write_json(path, content)


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


def _read(path: Path) -> Remembered:
    try:
        content = read_json(path)
        study, command, at = content["study"], content["command"], float(content["at"])
        data, rows, seeds = content["data"], tuple(content["rows"]), content["seeds"]
        fields = tuple((field, value) for field, value in content["fields"])
    except (ValueError, KeyError, TypeError):
        return Remembered(path, "", "", path.stat().st_mtime, None, f"{path} is damaged")
    try:
        declared = plugins.load("ablations", study, "study").study
        planned = plan_of(Asked(study, declared, scale(content["scale"]), data, fields, rows, seeds))
        planned.require_data()
    except Mistake as mistake:
        return Remembered(path, study, command, at, None, str(mistake))
    return Remembered(path, study, command, at, planned)
