"""The store: one folder per stage and key, `runs/STAGE/KEY/`. There is no database.

    config.json    stage, revision, hashed configuration, keys of the inputs
    experiment.json  every field of the experiment that the run was made for; others may share the run
    status.json    state, reason, kind of failure, every attempt with its environment and seconds
    metrics.csv    step, metric, value over time (`pandas.read_csv`)
    result.json    records, facts, size and checksum of every file that the stage made
    job.json       the submitted job, if any
    progress.json  the progress, while the stage runs
    ...            other files of the stage: arrays, weights, checkpoint

Beside the stages are `asked/` (`harness.planning.request_log`), `code/` (`harness.execution.code_copy`), `jobs/`
(`harness.execution.jobs`) and `sweeps/` (`harness.search.storage`).
Every JSON file but progress.json is replaced as a whole and holds its checksum. A file belongs to the result only if
result.json lists it, and result.json counts only if the state in status.json is `done`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from harness.store import schema
from harness.store.curves import CURVES, Curves
from harness.store.records import Record, record_from
from harness.system.errors import Mistake, Trouble
from harness.system.files import entries, fingerprints, read_array, read_arrays, read_json, write_json

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

FINAL = ("done", "diverged")  # a diverged run would diverge again, so it is final too
OVER = (*FINAL, "failed")  # what failed waits to be tried again
FAILURES = {"mistake": Mistake, "trouble": Trouble}  # errors by the kind of failure; any other is a "bug"
# Files that no result lists.
NOT_RESULT = (
    "config.json",
    "experiment.json",
    "status.json",
    "result.json",
    "job.json",
    "progress.json",
    "checkpoint.pt",
    "error.txt",
)


class Damaged(Trouble):
    """A file of a run is gone or damaged. A command that needs the run makes it again."""

    def __init__(self, run: Run, name: str, problem: str):
        self.run, self.problem = run, f"{run.folder / name} {problem}"
        super().__init__(f"{self.problem}: run its study again to make it again")


ASKED, FEATURES = "asked", "features"  # folders of a store beside its stages: requests, outputs of networks
UNREADABLE = "status.json is damaged"  # the reason of a run whose status cannot be read


class Run:
    """The folder of one stage."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder.name
        self.stage = folder.parent.name

    @property
    def _lock_file(self) -> Path:
        return self.folder.parent / f".{self.key}.lock"

    @cached_property
    def lock(self) -> FileLock:
        """Held while the stage runs; the operating system releases it when the process ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._lock_file)

    @property
    def locked(self) -> bool:
        """Whether a process works on the run. Read access is enough."""
        try:
            file = os.open(self._lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(file)

    @property
    def curves(self) -> Curves:
        """The metrics over time that the run logged."""
        return Curves(self.folder / CURVES)

    def status(self) -> dict[str, Any]:
        """{"state": waiting | running | stopped | failed | diverged | damaged | done, "reason", "attempts"}.

        Raises `Mistake` if something else is in the place of its folder.
        """
        try:
            status: dict[str, Any] = read_json(self.folder / "status.json")
            schema.check("status.json", status)
            return status
        except FileNotFoundError:
            return {"state": "waiting", "reason": "", "attempts": []}
        except NotADirectoryError:
            place = self.folder if self.folder.parent.is_dir() else self.folder.parent
            raise Mistake(f"{place} has to be a folder: move away what is there") from None
        except ValueError:
            return {"state": "damaged", "reason": UNREADABLE, "attempts": []}

    @property
    def state(self) -> str:
        """The state of `status`; `damaged` if it is `done` but the result or the configuration is damaged."""
        state = self.status()["state"]
        if state == "done":
            try:
                self.result()
                self.config()
            except Damaged:
                return "damaged"
        return state

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all attempts."""
        return sum(attempt["seconds"] for attempt in self.status()["attempts"])

    @property
    def refusal(self) -> Exception | None:
        """The error of a failed run if it is one that a user sees as a line: what was asked, or what was found."""
        status = self.status()
        kind = FAILURES.get(status.get("failure", ""))
        return kind(status["reason"]) if kind is not None and status["state"] == "failed" else None

    def set_state(self, state: str, reason: str = "") -> None:
        """Replaces the state and keeps the attempts."""
        self._write_status(self.status()["attempts"], state, reason)

    def reset(self, state: str, reason: str = "") -> None:
        """Sets the state of a run that ended, so that it is made again; does nothing while a process works on it."""
        try:
            with self.lock.acquire(timeout=0):
                self.set_state(state, reason)
        except Timeout:
            pass

    def _write_status(self, attempts: list[dict[str, Any]], state: str, reason: str, failure: str = "") -> None:
        self.folder.mkdir(parents=True, exist_ok=True)  # its process may be gone before it began, its folder removed
        content = {"state": state, "reason": reason, **({"failure": failure} if failure else {}), "attempts": attempts}
        write_json(self.folder / "status.json", content)

    def experiment(self) -> dict[str, Any]:
        """The fields, by dotted path, of the experiment that the run was made for; raises `Damaged`."""
        return self._read("experiment.json")

    def config(self) -> dict[str, Any]:
        """The values that are hashed into the key: stage, revision, config, keys of the inputs; raises `Damaged`."""
        return self._read("config.json")

    def begin(self, config: dict[str, Any], environment: dict[str, Any]) -> None:
        """Opens an attempt, and closes the last one if it was killed. The caller holds the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._closed_attempts()
        for path in self._own_files():
            if path.name.startswith(".") or path.name == "error.txt":
                with contextlib.suppress(OSError):  # a network disk keeps hidden files that are still open somewhere
                    path.unlink()
        write_json(self.folder / "config.json", config)
        attempt = {"began": time.time(), "seconds": 0.0, "outcome": "running", "environment": environment}
        self._write_status([*before, attempt], "running", "")

    def abandon(self, state: str, reason: str) -> None:
        """Sets the state of a run whose process ended without setting it. The caller holds the lock."""
        self._write_status(self._closed_attempts(), state, reason)

    def note(self, **facts: object) -> None:
        """Adds facts to the environment of the attempt that `begin` opened."""
        *before, last = self.status()["attempts"]
        last["environment"] |= facts
        self._write_status([*before, last], "running", "")

    def _closed_attempts(self) -> list[dict[str, Any]]:
        """The attempts; the last one is closed if it was killed."""
        attempts: list[dict[str, Any]] = self.status()["attempts"]
        if attempts and attempts[-1]["outcome"] == "running":
            last_write = max(path.stat().st_mtime for path in self._own_files())
            attempts[-1] |= {"outcome": "killed", "seconds": max(0.0, last_write - attempts[-1]["began"])}
        return attempts

    def _own_files(self) -> list[Path]:
        """The files that only the holder of the lock writes: all but job.json and its temporary files."""
        return [path for path in self.folder.rglob("*") if not path.name.lstrip(".").startswith("job.json")]

    def end(self, outcome: str, reason: str = "", error: Exception | None = None) -> None:
        """Closes the attempt that `begin` opened; `error` ended it."""
        *before, last = self.status()["attempts"]
        last |= {"outcome": outcome, "seconds": time.time() - last["began"]}
        failure = next((name for name, kind in FAILURES.items() if isinstance(error, kind)), "bug" if error else "")
        self._write_status([*before, last], outcome, reason, failure)

    def finish(self, records: list[Record], facts: dict[str, Any]) -> None:
        """Commits the result with all files in the folder except `NOT_RESULT`; removes the checkpoint."""
        paths = [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in NOT_RESULT and not path.name.startswith(".")
        ]
        names = (path.relative_to(self.folder).as_posix() for path in paths)
        files = dict(zip(names, fingerprints(paths), strict=True))
        content = {"records": [dataclasses.asdict(r) for r in records], "facts": facts, "files": files}
        write_json(self.folder / "result.json", content)
        self.end("done")
        for name in ("checkpoint.pt", "progress.json"):
            (self.folder / name).unlink(missing_ok=True)

    def result(self) -> dict[str, Any]:
        """{"records", "facts", "files"}; raises `Damaged`."""
        return self._read("result.json")

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = read_json(self.folder / name)
            schema.check(name, content)
        except (FileNotFoundError, ValueError):
            raise Damaged(self, name, "is gone or damaged") from None
        return content

    def fact(self, name: str) -> Any:
        """A fact of the result; raises `Damaged` if it is not there."""
        facts = self.result()["facts"]
        if name not in facts:
            raise Damaged(self, "result.json", f"has no {name}")
        return facts[name]

    def records(self) -> list[Record]:
        """The numbers of a finished run."""
        return [record_from(**stored) for stored in self.result()["records"]]

    def file(self, name: str) -> Path:
        """The path of a file of the result, after checking it against its checksum; raises `Damaged`."""
        return self.files([name])[0]

    def files(self, names: Sequence[str]) -> list[Path]:
        """The paths of several files, checked in the same way and in parallel; raises `Damaged`."""
        listed = self.result()["files"]
        for name in names:
            if name not in listed or not (self.folder / name).is_file():
                raise Damaged(self, name, "is gone")
        paths = [self.folder / name for name in names]
        for name, fingerprint in zip(names, fingerprints(paths), strict=True):
            if fingerprint != listed[name]:
                raise Damaged(self, name, "is damaged")
        return paths

    def array(self, name: str) -> np.ndarray:
        """The array in a .npy file of the result; raises `Damaged`."""
        return self.mapped([name])[0].copy()

    def mapped(self, names: Sequence[str]) -> list[np.ndarray]:
        """The arrays in .npy files, mapped into memory, read-only; the files are checked in parallel."""
        return [self._whole(read_array, path) for path in self.files(names)]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays in an .npz file of the result; raises `Damaged`."""
        return self._whole(read_arrays, self.file(name))

    def _whole(self, read: Callable[[Path], T], path: Path) -> T:
        try:
            return read(path)
        except ValueError:
            raise Damaged(self, path.name, "is damaged") from None

    def checked_folder(self) -> Path:
        """The folder, after checking every file of the result; raises `Damaged`."""
        self.files(list(self.result()["files"]))
        return self.folder


class Store:
    """All runs below one root."""

    def __init__(self, root: Path):
        self.root = root

    def run(self, stage: str, key: str) -> Run:
        """The run of `stage` under `key`; its folder may be missing."""
        return Run(self.root / stage / key)

    def runs(self) -> list[Run]:
        """All runs that were begun or submitted, by stage and key."""
        begun = {"config.json", "status.json", "job.json"}
        return [Run(folder) for folder in self._folders() if begun & {path.name for path in entries(folder)}]

    @property
    def recognised(self) -> bool:
        """Whether the root is empty or holds something of a store."""
        names = [path.name for path in entries(self.root)]
        return not names or bool({ASKED, FEATURES} & set(names)) or bool(self.runs())

    def _folders(self) -> Iterator[Path]:
        """The folders that may be runs. Raises OSError if one above them cannot be read: its runs are not gone."""
        for stage in entries(self.root):
            if schema.STAGE.fullmatch(stage.name) and stage.is_dir():
                yield from (path for path in entries(stage) if path.is_dir())

    def find(self, name: str) -> Run:
        """The one run whose key begins with `name`; raises `Mistake` if there is none, or more than one."""
        named = (folder for folder in self._folders() if name and folder.name.startswith(name))
        matches = [Run(folder) for folder in named if (folder / "config.json").exists()]
        if not matches:
            raise Mistake(f"no run {name!r} in {self.root}: the section Rows of a report names the runs of its rows")
        if len(matches) > 1:
            raise Mistake(f"{len(matches)} runs in {self.root} have keys that begin with {name!r}: give more digits")
        return matches[0]

    def lineage(self, run: Run) -> dict[str, Run]:
        """`run` and all runs that it was made from, by stage; raises `Damaged`."""
        runs = {run.stage: run}
        for stage, key in run.config()["inputs"].items():
            runs |= self.lineage(self.run(stage, key))
        return runs
