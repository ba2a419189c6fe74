"""Results without weights, as text that another store can take: one file per seed, one line per run.

A run that a store took has its numbers, curves and environment, and counts as done. If a stage needs more of it, such
as its weights, the run is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.experiments.keys import key_of
from harness.store.curves import CURVES
from harness.store.runs import Run, Store
from harness.store.schema import EXPORTED_RUN
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.files import digest, write_json, write_text

JSON = ("config", "experiment", "status", "result")


def export(by_seed: dict[int, list[Run]], folder: Path) -> dict[Path, int]:
    """Writes all finished runs of every seed to seed-SEED.jsonl in `folder`; the number of runs by file.

    Raises `Mistake`, before it writes any file, if one is there with other results.
    """
    finished = {
        folder / f"seed-{seed}.jsonl": {run.folder: _line(run) for run in runs if run.state == "done"}
        for seed, runs in by_seed.items()
    }
    texts = {path: "".join(f"{line}\n" for line in lines.values()) for path, lines in finished.items() if lines}
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise Mistake(f"{path} exists with other results: choose another folder, or remove it; nothing was written")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return {path: len(finished[path]) for path in texts}


def _line(run: Run) -> str:
    content: dict[str, Any] = {"stage": run.stage, "key": run.key}
    content |= {"config": run.config(), "experiment": run.experiment(), "status": run.status(), "result": run.result()}
    if CURVES in content["result"]["files"]:
        content[CURVES] = run.file(CURVES).read_text(encoding="utf-8")
    return json.dumps({"sha256": digest(content), **content}, sort_keys=True)


def take(paths: Sequence[Path], store: Store) -> list[tuple[int, int]]:
    """Takes the runs of files into the store; for each file how many it took, and how many the store already had.

    Raises `Mistake`, before it takes any run, if a line of any file is damaged or not a finished run.
    """
    checked = [list(_read(path)) for path in paths]
    store.root.mkdir(parents=True, exist_ok=True)
    return [_take(contents, store) for contents in checked]


def _take(contents: list[dict[str, Any]], store: Store) -> tuple[int, int]:
    taken = present = 0
    for content in contents:
        run = store.run(content["stage"], content["key"])
        with run.lock:
            if run.state == "done":
                present += 1
                continue
            temporary = run.folder.with_name(f".{run.key}.{os.getpid()}")
            try:
                temporary.mkdir(parents=True)
                for name in JSON:
                    write_json(temporary / f"{name}.json", content[name])
                if CURVES in content:
                    (temporary / CURVES).write_text(content[CURVES], encoding="utf-8")
                if run.folder.exists():
                    shutil.rmtree(run.folder)
                temporary.rename(run.folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            taken += 1
    return taken, present


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise Mistake(f"{path} is not a file of results: harness.runs STUDY --export DIR writes such files") from None
    if not lines:
        raise Mistake(f"{path} is empty: copy the file again; nothing was taken")
    for number, line in enumerate(lines, 1):
        try:
            yield _run(line)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            problem = f"is not a finished run ({place}: {first['msg']})" if place else "is damaged"
        except (ValueError, RecursionError):
            problem = "is damaged"
        else:
            continue
        raise Mistake(f"line {number} of {path} {problem}: copy the file again; nothing was taken")


def _run(line: str) -> dict[str, Any]:
    """The content of a line, checked whole. Raises ValueError, and ValidationError for a line of another form."""
    EXPORTED_RUN.validate_json(line)
    content: dict[str, Any] = json.loads(line)
    config, curves = content["config"], content.get(CURVES)
    if content["stage"] not in plugins.names("harness.stages"):
        raise ValueError("there is no such stage")
    if content.pop("sha256") != digest(content):
        raise ValueError("the checksum differs")
    if key_of(config) != content["key"] or config["stage"] != content["stage"]:
        raise ValueError("the key is that of another run")
    listed = content["result"]["files"].get(CURVES)
    if (curves is None) != (listed is None):
        raise ValueError("the curves are missing, or no result lists them")
    if curves is not None and hashlib.sha256(curves.encode()).hexdigest() != listed["sha256"]:
        raise ValueError("the checksum of the curves differs")
    return content
