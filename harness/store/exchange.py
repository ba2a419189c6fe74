"""Results without weights, as text that another store can take: one file per seed, one line per run.

A run that a store took has its numbers, curves and environment, and counts as done. If a stage needs more of it, such
as its weights, the run is made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.experiments.keys import key_of
from harness.store.curves import CURVES
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from harness.system.files import digest, replacing, write_json

JSON = ("config", "experiment", "status", "result")


def export(by_seed: dict[int, list[Run]], folder: Path) -> dict[Path, int]:
    """Writes all finished runs of every seed to seed-SEED.jsonl in `folder`; the number of runs by file."""
    counts = {}
    for seed, runs in by_seed.items():
        lines = {run.folder: _line(run) for run in runs if run.state == "done"}
        if lines:
            path = folder / f"seed-{seed}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines.values()))
            counts[path] = len(lines)
    return counts


def _line(run: Run) -> str:
    content: dict[str, Any] = {"stage": run.stage, "key": run.key}
    content |= {"config": run.config(), "experiment": run.experiment(), "status": run.status(), "result": run.result()}
    if CURVES in content["result"]["files"]:
        content[CURVES] = run.file(CURVES).read_text()
    return json.dumps({"sha256": digest(content), **content}, sort_keys=True)


def take(path: Path, store: Store) -> tuple[int, int]:
    """Takes the runs of a file into the store; how many it took, and how many the store already had.

    Raises `Mistake`, before it takes any run, if a line is damaged.
    """
    taken = present = 0
    for content in list(_read(path)):
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
                    (temporary / CURVES).write_text(content[CURVES])
                if run.folder.exists():
                    shutil.rmtree(run.folder)
                temporary.rename(run.folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            taken += 1
    return taken, present


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise Mistake(f"{path} is not a file of results: harness.runs STUDY --export DIR writes such files") from None
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            whole = content.pop("sha256") == digest(content) and key_of(content["config"]) == content["key"]
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise Mistake(f"line {number} of {path} is damaged: copy the file again; nothing was taken")
        yield content
