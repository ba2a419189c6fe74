"""`python -m harness.prune`: removes what no remembered request wants, after showing it and asking.

That is: runs that no request plans under the present code, folders of jobs that no remaining run was submitted from,
and copies of the code once nothing runs from one. A folder gets a hidden name before it is deleted, so that whatever
is killed leaves no half of a run; the next call deletes the rest.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil
from filelock import Timeout
from tabulate import tabulate

from harness import cli
from harness.execution import jobs
from harness.planning.request_log import FOLDER, Remembered, remembered
from harness.store.runs import Damaged, Run, Store
from harness.store.usage import GIB, MIB, Usage, age, usage
from harness.system.errors import Mistake, unknown

KEY = re.compile("[0-9a-f]{16}")  # whatever else somebody keeps beside the runs is not ours to remove
LEFT = ".pruned"


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("prune", "removes what no remembered request wants, after showing it and asking")
    cli.add_store(parser)
    parser.add_argument("--forget", action="append", default=[], metavar="PAGE", help="forget a request before")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    store = cli.existing_store(options)
    if not (store.root / FOLDER).is_dir():
        raise Mistake(f"{store.root} remembers no request, so every run would go: harness.ablate remembers what it did")
    requests = {request.page: request for request in remembered(store)}
    for page in options.forget:
        if page not in requests:
            raise unknown("request", page, requests)
    forgotten = [requests.pop(page) for page in dict.fromkeys(options.forget)]
    runs, others, in_use = removable(store, list(requests.values()))
    held = {folder: usage(folder) for folder in [*(run.folder for run in runs), *others]}
    for request in forgotten:
        print(f"forget {request.page}, made {age(request.at)} ago: {request.command or request.trouble}")
    print(shown(runs, held, in_use))
    if not (forgotten or held):
        return 0
    if not options.yes and not cli.agreed(question(forgotten, runs, others, held)):
        print("nothing was removed")
        return 0
    for request in forgotten:
        request.path.unlink(missing_ok=True)
    with jobs.submitting(store):  # nobody submits meanwhile; and what was requested since then stays
        runs, others, _ = removable(store, remembered(store))
        for folder in others:
            if folder in held:
                remove(folder)
        removed = [run for run in runs if run.folder in held and removed_run(run)]
    print(f"{len(removed)} runs were removed")
    return 0


def removable(store: Store, requests: list[Remembered]) -> tuple[list[Run], list[Path], list[Run]]:
    """Runs and other folders that can go, and runs that no request wants but that are in use; raises `Mistake`."""
    wanted: set[Path] = set()
    for request in requests:
        if request.plan is None:
            raise Mistake(
                f"which runs {request.page} wants cannot be told: {request.trouble}. Nothing is removed before that "
                f"is mended, or forgotten: --forget {request.page}"
            )
        wanted |= {run.folder for run in request.runs(store)}
    every = [run for run in store.runs() if KEY.fullmatch(run.key)]
    loose = [run for run in every if run.folder not in wanted]
    busy = busy_runs(every)
    in_use = needed(store, [run for run in loose if run.folder in busy])
    going = [run for run in loose if run.folder not in in_use]
    gone = {run.folder for run in going}
    staying = [run for run in every if run.folder not in gone]
    left = [path for path in sorted(store.root.glob(f"*/.*{LEFT}")) if path.is_dir()]
    others = [*left, *unused_code(store, staying, bool(busy))]
    return going, others, [run for run in loose if run.folder in in_use]


def busy_runs(runs: list[Run]) -> set[Path]:
    """Those that a process works on, or that have a job in a queue; raises `Trouble` where that cannot be told."""
    alive = jobs.alive(runs)
    return {run.folder for run in runs if run.locked or run in alive}


def needed(store: Store, busy: list[Run]) -> set[Path]:
    """The busy runs and all that they rest on; raises `Mistake` where that is not written down yet."""
    found: set[Path] = set()
    for run in busy:
        try:
            found |= {r.folder for r in store.rests_on(run).values()}
        except Damaged:
            raise Mistake(
                f"{run.stage} {run.key}, which no request wants, waits in a queue, and what it will read cannot "
                "be told before it begins: nothing is removed until then, or until it is cancelled"
            ) from None
    return found


def unused_code(store: Store, staying: list[Run], busy: bool) -> list[Path]:
    """Job folders that no run of `staying` was submitted from, and copies of the code where nothing can run from one.

    A run does not say which copy it was submitted with: all stay while a job or the command behind it lives.
    """
    logs = {Path(job.log).parent.name for run in staying if (job := jobs.submitted(run)) is not None}
    folders = [path for path in sorted(store.root.glob("jobs/[!.]*")) if path.is_dir()]
    alive = {path for path in folders if _lives(path)}
    code = [] if busy or alive else [p for p in sorted(store.root.glob("code/*")) if KEY.fullmatch(p.name)]
    return [*code, *(path for path in folders if path not in alive and path.name not in logs)]


def _lives(folder: Path) -> bool:
    """Whether the command that made a job folder, DATE-TIME-PID, may still submit from it."""
    try:
        return psutil.Process(int(folder.name.rpartition("-")[2])).create_time() <= folder.stat().st_mtime
    except (psutil.Error, ValueError):
        return False


def shown(runs: list[Run], held: dict[Path, Usage], in_use: list[Run]) -> str:
    """A line for every folder that can go, and how many runs cannot."""
    states = {run.folder: run.state for run in runs}
    table = [
        (folder.parent.name, folder.name, states.get(folder, ""), f"{used.bytes / MIB:.1f}", age(used.at))
        for folder, used in held.items()
    ]
    parts = []
    if table:
        align = ("left", "left", "left", "right", "right")
        parts.append(tabulate(table, ("stage", "key", "state", "MiB", "age"), disable_numparse=True, colalign=align))
    if in_use:
        parts.append(f"{len(in_use)} runs that no request wants stay: they run, wait in a queue, or are read by such.")
    if not table:
        parts.append("Nothing else is there that no request wants." if in_use else "All that is there is wanted.")
    return "\n\n".join(parts)


def question(forgotten: list[Remembered], runs: list[Run], others: list[Path], held: dict[Path, Usage]) -> str:
    """What is about to happen, on one line."""
    forget = f"Forget {', '.join(request.page for request in forgotten)}, remove" if forgotten else "Remove"
    besides = f" and {len(others)} other folders" if others else ""
    return f"{forget} {len(runs)} runs{besides}, {sum(u.bytes for u in held.values()) / GIB:.2f} GiB? [y/N] "


def removed_run(run: Run) -> bool:
    """Removes a run unless a process has begun to work on it. Its lock file stays: another may wait for it."""
    try:
        with run.lock.acquire(timeout=0):
            remove(run.folder)
    except Timeout:
        print(f"{run.stage} {run.key} stays: a process works on it")
        return False
    return True


def remove(folder: Path) -> None:
    """Removes a folder, or the rest of one."""
    hidden = folder if folder.name.endswith(LEFT) else folder.with_name(f".{folder.name}{LEFT}")
    if hidden != folder:
        folder.rename(hidden)
    shutil.rmtree(hidden)


if __name__ == "__main__":
    cli.run(main)
