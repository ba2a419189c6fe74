"""What a plan will take: time from earlier runs of the same stage at the same scale, disk from the shapes."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from tabulate import tabulate

from harness.plan import Task
from harness.store import FINAL, Store

GIB = 2**30


def plan_table(planned: list[Task], labels: dict[Task, str], store: Store) -> str:
    """The stages of a plan with their state, seconds and disk, as text."""
    pace = _seconds_per_unit(store)
    rows, seconds, unknown, disk = [], 0.0, 0, 0
    for task in planned:
        size = task.module.size(task.experiment)
        cached = task.run_in(store).state in FINAL
        expected = pace.get((task.stage, task.experiment.scale))
        time = "cached" if cached else "unknown" if expected is None else f"{expected * size.units:.0f} s"
        rows.append((task.stage, labels[task], task.key, task.run_in(store).state, time, f"{size.bytes / 2**20:.1f}"))
        if not cached:
            disk += size.bytes
            seconds += (expected or 0) * size.units
            unknown += expected is None
    table = tabulate(rows, headers=("stage", "rows", "key", "state", "time", "MiB"), disable_numparse=True)
    todo = sum(row[4] != "cached" for row in rows)
    if todo == 0:
        return f"{table}\n\nAll {len(rows)} stages are done."
    time = f"{seconds / 60:.0f} min by earlier runs at this scale" if seconds else "no earlier run to judge the time by"
    time += f", {unknown} stages unknown" if unknown and seconds else ""
    free = shutil.disk_usage(_existing(store.root)).free
    return f"{table}\n\n{todo} of {len(rows)} stages to run; {time}; {disk / GIB:.2f} GiB of {free / GIB:.0f} GiB free"


def _seconds_per_unit(store: Store) -> dict[tuple[str, str], float]:
    """The median over the finished runs of each stage and scale."""
    seen: dict[tuple[str, str], list[float]] = {}
    for path in store.root.glob("*/*/result.json"):
        run = store.run(path.parent.parent.name, path.parent.name)
        if run.state == "done":
            scale = run.status()["attempts"][-1]["environment"]["scale"]
            seen.setdefault((run.stage, scale), []).append(run.seconds / run.result()["facts"]["units"])
    return {known: statistics.median(paces) for known, paces in seen.items()}


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
