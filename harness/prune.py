"""`python -m harness.prune`: removes the runs that no request in the store needs, after listing them and asking.

It removes runs that no request plans under the present code, folders of jobs that no remaining run was submitted from,
and copies of the code if nothing runs from any copy. A folder gets a hidden name before it is deleted: a killed command
leaves no half of a run, and the next call deletes the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from filelock import Timeout

from harness import cli
from harness.execution import jobs
from harness.planning.request_log import RememberedRequest, remembered_requests
from harness.store.runs import FEATURES, Damaged, Run, Store
from harness.store.schema import KEY
from harness.store.usage import GIB, MIB, Usage, age, usage
from harness.system import terminal
from harness.system.errors import Mistake, unknown
from harness.system.files import TEMPORARY, entries

LEFT = ".pruned"
OLD_SECONDS = 24 * 3600


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("prune", "removes the runs that no request in the store needs, after listing them and asking")
    cli.add_store(parser)
    parser.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="PAGE",
        help="first forget this request; may be given several times",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    store = cli.existing_store(options)
    requests = {request.page: request for request in remembered_requests(store)}
    if not requests:
        raise Mistake(
            f"{store.root} remembers no request, so every run would be removed; harness.ablate records requests"
        )
    for page in options.forget:
        if page not in requests:
            raise unknown("request", page, requests)
    forgotten = [requests.pop(page) for page in dict.fromkeys(options.forget)]
    runs, others, in_use = removable(store, list(requests.values()))
    held = {folder: usage(folder) for folder in [*(run.folder for run in runs), *others]}
    for request in forgotten:
        print(f"forget {request.page}, made {age(request.at)} ago: {request.command or request.trouble}")
    print(shown(runs, held, in_use))
    for request in (request for request in requests.values() if request.missing_plugins):
        print(f"{request.page} {made_with(request)}: its numbers by metrics of plug-ins stay")
    if not (forgotten or held):
        return 0
    if not options.yes and not cli.agreed(question(forgotten, runs, others, held)):
        print("nothing was removed")
        return 0
    for request in forgotten:
        request.path.unlink(missing_ok=True)
    with jobs.submitting(store):  # no job is submitted meanwhile, and runs of requests made since then stay
        runs, others, _ = removable(store, remembered_requests(store))
        for folder in others:
            if folder in held:
                remove(folder)
        removed = [run for run in runs if run.folder in held and removed_run(run)]
    print(f"{len(removed)} runs were removed")
    return 0


def removable(store: Store, requests: list[RememberedRequest]) -> tuple[list[Run], list[Path], list[Run]]:
    """The runs and other folders to remove, and unwanted runs that are in use. Raises `Mistake`."""
    wanted: set[Path] = set()
    for request in requests:
        if request.plan is None:
            raise Mistake(
                f"the runs of {request.page} are unknown: {request.trouble}. Nothing is removed until that is "
                f"mended or the request is forgotten: --forget {request.page}"
            )
        wanted |= {run.folder for run in request.runs(store)}
    every = [run for run in store.runs() if KEY.fullmatch(run.key)]
    unwanted = [run for run in every if run.folder not in wanted]
    busy = busy_runs(every)
    in_use = needed(store, [run for run in unwanted if run.folder in busy])
    unused = [run for run in unwanted if run.folder not in in_use]
    removed = {run.folder for run in unused}
    kept = [run for run in every if run.folder not in removed]
    leftovers = [path for path in sorted(store.root.glob(f"*/.*{LEFT}")) if path.is_dir()]
    others = [*leftovers, *temporaries(store), *unused_code(store, kept, bool(busy))]
    return unused, others, [run for run in unwanted if run.folder in in_use]


def made_with(request: RememberedRequest) -> str:
    """The plug-ins that a request was made with and that this command was not given, in words."""
    return f"was made with plug-ins that are not given: {' '.join(f'--plugins {p}' for p in request.missing_plugins)}"


def temporaries(store: Store) -> list[Path]:
    """Hidden files and folders that killed writers left beside the runs: no write takes a day."""
    found = []
    for folder in (path for path in entries(store.root) if path.is_dir()):
        for path in sorted(folder.iterdir()):
            old = time.time() - path.lstat().st_mtime > OLD_SECONDS
            if old and (TEMPORARY.fullmatch(path.name) or (folder.name == FEATURES and path.name.startswith("."))):
                found.append(path)
    return found


def busy_runs(runs: list[Run]) -> set[Path]:
    """The runs that a process works on, or that have a job in a queue. Raises `Trouble` if that is unknown."""
    alive = jobs.alive(runs)
    return {run.folder for run in runs if run.locked or run in alive}


def needed(store: Store, busy: list[Run]) -> set[Path]:
    """The busy runs and the runs that they rest on. Raises `Mistake` if these are not recorded yet."""
    folders: set[Path] = set()
    for run in busy:
        try:
            folders |= {r.folder for r in store.lineage(run).values()}
        except Damaged:
            raise Mistake(
                f"{run.stage} {run.key}, which no request wants, waits in a queue, and its inputs are unknown before "
                "it begins: nothing is removed until then, or until it is cancelled"
            ) from None
    return folders


def unused_code(store: Store, kept: list[Run], busy: bool) -> list[Path]:
    """Job folders that no run of `kept` was submitted from, and copies of the code if nothing can run from any copy.

    A run does not record the copy of its job: all copies stay while a job or a command that may submit is alive.
    """
    logs = {Path(job.log).parent.name for run in kept if (job := jobs.submitted(run)) is not None}
    folders = [path for path in entries(store.root / "jobs") if path.is_dir()]
    alive = {path for path in folders if _alive(path)}
    code = [] if busy or alive else [p for p in entries(store.root / "code") if KEY.fullmatch(p.name)]
    return [*code, *(path for path in folders if path not in alive and path.name not in logs)]


def _alive(folder: Path) -> bool:
    """Whether the command that made a job folder, DATE-TIME-PID, may still submit from it."""
    try:
        return psutil.Process(int(folder.name.rpartition("-")[2])).create_time() <= folder.stat().st_mtime
    except (psutil.Error, ValueError):
        return False


def shown(runs: list[Run], held: dict[Path, Usage], in_use: list[Run]) -> str:
    """A line for every folder to remove, and the number of unwanted runs in use."""
    states = {run.folder: run.state for run in runs}
    table = [
        (folder.parent.name, folder.name, states.get(folder, ""), f"{used.bytes / MIB:.1f}", age(used.at))
        for folder, used in held.items()
    ]
    parts = []
    if table:
        parts.append(terminal.table(table, ("stage", "key", "state", "MiB", "age"), right=("MiB", "age")))
    if in_use:
        parts.append(
            f"{len(in_use)} runs that no request wants stay: they run, wait in a queue, or are inputs of such runs."
        )
    if not table:
        parts.append("All other runs are wanted." if in_use else "All runs are wanted.")
    return "\n\n".join(parts)


def question(forgotten: list[RememberedRequest], runs: list[Run], others: list[Path], held: dict[Path, Usage]) -> str:
    """The question before the removal, on one line."""
    forget = f"Forget {', '.join(request.page for request in forgotten)}, remove" if forgotten else "Remove"
    besides = f" and {len(others)} other folders" if others else ""
    return f"{forget} {len(runs)} runs{besides}, {sum(u.bytes for u in held.values()) / GIB:.2f} GiB? [y/N] "


def removed_run(run: Run) -> bool:
    """Removes a run unless a process has begun to work on it. Its lock file stays: another process may wait for it."""
    try:
        with run.lock.acquire(timeout=0):
            remove(run.folder)
    except Timeout:
        print(f"{run.stage} {run.key} stays: a process works on it")
        return False
    return True


def remove(folder: Path) -> None:
    """Removes a file, a folder, or the rest of one."""
    if not folder.is_dir() or folder.is_symlink():
        folder.unlink(missing_ok=True)
        return
    hidden = folder if folder.name.endswith(LEFT) else folder.with_name(f".{folder.name}{LEFT}")
    if hidden != folder:
        folder.rename(hidden)
    shutil.rmtree(hidden)


if __name__ == "__main__":
    cli.run(main)
