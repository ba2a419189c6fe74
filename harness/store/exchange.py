"""Results without their weights, as text: one file a seed, a line a run, to be passed on and taken into another store.

A run that was taken has its numbers, curves and environment, and counts as done. What reads more of it, such as
weights, finds that they are gone, and the run is made again.
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
    """Writes SEED.jsonl of every seed below `folder`, with all runs of it that are done; how many, by file."""
    found = {}
    for seed, runs in by_seed.items():
        lines = {run.folder: _line(run) for run in runs if run.state == "done"}
        if lines:
            path = folder / f"seed-{seed}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines.values()))
            found[path] = len(lines)
    return found


def _line(run: Run) -> str:
    held: dict[str, Any] = {"stage": run.stage, "key": run.key}
    held |= {"config": run.config(), "experiment": run.experiment(), "status": run.status(), "result": run.result()}
    if CURVES in held["result"]["files"]:
        held[CURVES] = run.file(CURVES).read_text()
    return json.dumps({"sha256": digest(held), **held}, sort_keys=True)


def take(path: Path, store: Store) -> tuple[int, int]:
    """Takes the runs in a file into the store; how many, and how many were there already.

    Raises `Mistake`, before anything is taken, where a line is not what was written.
    """
    taken = there = 0
    for held in list(_read(path)):
        run = store.run(held["stage"], held["key"])
        with run.lock:
            if run.state == "done":
                there += 1
                continue
            temporary = run.folder.with_name(f".{run.key}.{os.getpid()}")
            try:
                temporary.mkdir(parents=True)
                for name in JSON:
                    write_json(temporary / f"{name}.json", held[name])
                if CURVES in held:
                    (temporary / CURVES).write_text(held[CURVES])
                if run.folder.exists():
                    shutil.rmtree(run.folder)
                temporary.rename(run.folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            taken += 1
    return taken, there


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise Mistake(f"{path} is no file of results: harness.runs STUDY --export DIR writes them") from None
    for number, line in enumerate(lines, 1):
        try:
            held = json.loads(line)
            whole = held.pop("sha256") == digest(held) and key_of(held["config"]) == held["key"]
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise Mistake(f"line {number} of {path} is not what was written: copy the file again; nothing was taken")
        yield held
