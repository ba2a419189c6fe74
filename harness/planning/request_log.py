"""The requests that a store remembers: one small file each, `RUNS/asked/PAGE.json`.

A run that no remembered request wants under the present code is one that `harness.prune` removes.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiments.requests import Asked, AskedAblation, AskedSweep, Point, study_called
from harness.experiments.scales import scale
from harness.experiments.sweep import Sweep
from harness.planning.plan import Planned, plan_of
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from harness.system.files import read_json, write_json

FOLDER = "asked"


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
