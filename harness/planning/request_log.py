"""The requests that a store remembers: one small file each, `RUNS/asked/PAGE.json`.

`harness.prune` removes the runs that no remembered request wants under the present code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.experiments import plugin_metrics
from harness.experiments.requests import COUNTS, AblationRequest, Request, SweepRequest
from harness.experiments.stored_requests import request_from_json
from harness.planning.plan import Plan, plan_of
from harness.store.runs import ASKED, Damaged, Run, Store
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.files import entries, read_json, write_json

FOLDER = ASKED
UNREADABLE = (ValueError, KeyError, TypeError, Mistake)  # the errors of a damaged file, or of a file from other code


def remember(request: Request, store: Store) -> None:
    """Records the request. Seeds and points of earlier requests for the same page are kept.

    A record that this code cannot read is kept beside the new one, with a warning. Its runs stay until it is forgotten.
    """
    path = store.root / FOLDER / f"{request.page}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        before = request_from_json(read_json(path))
    except FileNotFoundError:
        pass
    except UNREADABLE:
        _keep_aside(path)
    else:
        request = dataclasses.replace(request, seeds=max(request.seeds, before.seeds))
        if isinstance(request, AblationRequest) and isinstance(before, AblationRequest):
            most = {name: max(getattr(request, name), getattr(before, name)) for name in COUNTS}
            request = dataclasses.replace(request, **most)
        if isinstance(request, SweepRequest) and isinstance(before, SweepRequest):
            request = dataclasses.replace(request, points=tuple(dict.fromkeys((*before.points, *request.points))))
    write_json(path, request.to_json() | {"at": time.time()})


def _keep_aside(path: Path) -> None:
    """Renames a record that this code cannot read; from then on it counts as a separate request."""
    names = (path.with_name(f"{path.stem}.unreadable-{number}.json") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    print(
        f"warning: this code cannot read {path}, which is kept as {aside.name}; harness.prune removes nothing until it "
        f"is repaired or forgotten: --forget {aside.stem}",
        file=sys.stderr,
    )


@dataclass(frozen=True)
class RememberedRequest:
    """A request that the store remembers, and the time when it was last made (Unix time).

    `plan` is None if the file is damaged, the data is absent, or the file names something that no longer exists;
    `trouble` says which. `missing_plugins` are the places of plug-ins that its command names, and that this process was
    not given.
    """

    path: Path
    study: str
    scale: str
    command: str
    at: float
    plan: Plan | None
    trouble: str = ""
    missing_plugins: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.path.stem

    def runs(self, store: Store) -> list[Run]:
        """The runs that the request wants; their folders may be missing.

        If plug-ins are missing, every metric of a plug-in that was measured on these runs counts as wanted.
        """
        if self.plan is None:
            return []
        planned = [t.run_in(store) for t in self.plan.tasks]
        return [*planned, *(_measured_by_plugins(planned, store) if self.missing_plugins else [])]


def _measured_by_plugins(planned: list[Run], store: Store) -> list[Run]:
    """The runs of metrics of plug-ins whose inputs are all `planned`."""
    known, found = {(run.stage, run.key) for run in planned}, []
    for run in (run for run in store.runs() if run.stage in plugin_metrics.STAGES):
        with contextlib.suppress(Damaged):
            found += [run] if known.issuperset(run.config()["inputs"].items()) else []
    return found


def remembered_requests(store: Store) -> list[RememberedRequest]:
    """All requests that the store remembers, by page. Raises OSError if they cannot be read."""
    return [_read(path) for path in entries(store.root / FOLDER) if path.suffix == ".json"]


def wanted_elsewhere(request: Request, store: Store) -> set[Path]:
    """The folders of runs that requests for other pages want."""
    others = (other for other in remembered_requests(store) if other.page != request.page)
    return {run.folder for other in others for run in other.runs(store)}


def remembered_request(request: Request, store: Store) -> RememberedRequest | None:
    """The request for the same page that the store remembers, if there is one."""
    path = store.root / FOLDER / f"{request.page}.json"
    return _read(path) if path.is_file() else None


def _read(path: Path) -> RememberedRequest:
    try:
        content = read_json(path)
        study, scale = content["study"], content["scale"]
        command, at = str(content["command"]), float(content["at"])
        missing = _missing_plugins(command)
        plan = plan_of(request_from_json(content))
        plan.require_data()
    except Mistake as mistake:
        needed = " ".join(f"--plugins {place}" for place in missing)
        trouble = f"it was made with plug-ins that are not given: {needed}" if missing else str(mistake)
        return RememberedRequest(path, study, scale, command, at, None, trouble, missing)
    except (ValueError, KeyError, TypeError):
        return RememberedRequest(path, "", "", "", path.stat().st_mtime, None, f"{path} is damaged")
    return RememberedRequest(path, study, scale, command, at, plan, "", missing)


def _missing_plugins(command: str) -> tuple[str, ...]:
    named = (place for word, place in itertools.pairwise(shlex.split(command)) if word == "--plugins")
    return tuple(place for place in named if place not in plugins.places())
