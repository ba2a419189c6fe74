"""`python -m harness.runs [STUDY]`: lists the requests in the store with the state and size of their runs."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import cli
from harness.experiments.requests import study_called
from harness.experiments.scales import scale
from harness.planning.plan import Plan
from harness.planning.request_log import RememberedRequest, remembered_requests
from harness.store.exchange import export, take
from harness.store.runs import UNREADABLE, Run, Store
from harness.store.usage import GIB, MIB, Usage, age, usage
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake, unknown
from harness.system.texts import listed


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser(
        "runs", "lists the requests in the store with the state and size of their runs; with STUDY, every run"
    )
    cli.add_store(parser)
    cli.add_study_name(parser, "list every run of this study or page")
    cli.add_scale(parser, "(default: all)", beginning="only requests at this scale: ")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--export",
        type=paths.folder,
        metavar="DIR",
        help="write the results of STUDY to this folder, one file per seed, without weights",
    )
    parser.add_argument(
        "--take", type=paths.path, nargs="+", metavar="FILE", help="add the runs in files of --export to the store"
    )
    parser.add_argument(
        "--tensorboard",
        type=paths.folder,
        metavar="DIR",
        help="write curves and numbers of STUDY for TensorBoard; again, it writes what is new",
    )
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="log curves and numbers of STUDY to this project of Weights & Biases"
    )
    options = parser.parse_args(arguments)
    require_one_thing(options)
    if options.take:
        paths.require_writable(options.runs)
        counts = take(options.take, Store(options.runs))
        for path, (added, present) in zip(options.take, counts, strict=True):
            print(f"{path}: {added} runs added, {present} were in the store already")
        return 0
    paths.require_writable(*filter(None, (options.export, options.tensorboard)))
    store = cli.existing_store(options)
    requests = remembered_requests(store)
    if options.scale:
        at = scale(options.scale).experiment.scale
        requests = [request for request in requests if request.scale == at]
        if not requests:
            raise Mistake(f"{store.root} remembers no request at {at}: --scale {at} of harness.ablate makes one")
    if options.study is not None:
        requests = named(options.study, requests, store)
    if options.export:
        for path, count in exported(options, requests, store).items():
            print(f"{path}: {count} runs")
        return 0
    if options.tensorboard or options.wandb is not None:
        track(options, requests, store)
        return 0
    every = store.runs()
    held = {run.folder: usage(run.folder) for run in every}
    for request in requests:
        if request.plan is None:
            print(f"{request.page}: its runs are unknown: {request.trouble}", file=sys.stderr)
    if options.study:
        tables = {r.page: lines(r.plan, store, held) for r in requests if r.plan is not None}
        print(json.dumps(tables, indent=1) if options.json else "\n\n".join(map(shown, tables, tables.values())))
    else:
        summary = overview(requests, store, held)
        print(json.dumps(summary, indent=1) if options.json else shown_overview(summary))
    damaged = [run for run in every if run.status()["reason"] == UNREADABLE]
    for run in damaged:
        print(f"{run.stage} {run.key}: {UNREADABLE}", file=sys.stderr)
    return 1 if damaged or any(not request.study for request in requests) else 0


def require_one_thing(options: argparse.Namespace) -> None:
    """Raises `Mistake` for options of which one would keep another from doing anything."""
    names = ("take", "export", "tensorboard", "wandb", "json", "scale")
    given = [f"--{name}" for name in names if getattr(options, name) not in (None, False)]
    if options.take and (others := [*given[1:], *(["STUDY"] if options.study else [])]):
        raise Mistake(f"--take adds all runs of its files: leave out {listed(others)}")
    doing = [name for name in given if name in ("--export", "--tensorboard", "--wandb", "--json")]
    if len(doing) > 1 and set(doing) != {"--tensorboard", "--wandb"}:
        raise Mistake(f"{listed(doing)} are different commands: give one at a time")
    if options.wandb is not None and not options.wandb.strip():
        raise Mistake("--wandb names no project")


def named(name: str, requests: list[RememberedRequest], store: Store) -> list[RememberedRequest]:
    """The requests of a study, or the one of a page. Raises `Mistake`."""
    matches = [request for request in requests if name in (request.page, request.study)]
    if not requests:
        raise Mistake(f"{store.root} remembers no request: python -m harness.ablate STUDY makes one")
    if not matches and name in plugins.names("ablations"):
        words = [f"harness.{study_called(name).command}", name, *plugins.words(), "--runs", str(store.root)]
        typed = shlex.join(["python", "-m", *words])
        raise Mistake(f"nothing of {name} was requested in {store.root}; next: {typed}")
    if not matches:
        raise unknown("study or page", name, dict.fromkeys(n for r in requests for n in (r.study, r.page) if n))
    return matches


def plan_of(request: RememberedRequest) -> Plan:
    """The plan of a request. Raises `Mistake` if there is none any more."""
    if request.plan is None:
        raise Mistake(f"{request.page}: its runs are unknown: {request.trouble}")
    return request.plan


def exported(options: argparse.Namespace, requests: list[RememberedRequest], store: Store) -> dict[Path, int]:
    """Writes the results of the chosen request. Raises `Mistake` if the options choose none or several."""
    if not options.study or len(requests) != 1:
        pages = ", ".join(request.page for request in requests)
        raise Mistake(f"--export takes one page: {pages}")
    written = export(plan_of(requests[0]).runs_by_seed(store), options.export)
    if not written:
        raise Mistake(f"nothing of {requests[0].page} is done in {store.root}")
    return written


def track(options: argparse.Namespace, requests: list[RememberedRequest], store: Store) -> None:
    """Writes curves and numbers for trackers. Raises `Mistake` if they cannot be told, or a package is missing."""
    from reports.trackers import tensorboard, wandb
    from reports.trackers.tracked import tracked_runs

    if not options.study:
        raise Mistake("--tensorboard and --wandb take a study or a page: " + ", ".join(r.page for r in requests))
    for tracker in (*([tensorboard] if options.tensorboard else ()), *([wandb] if options.wandb else ())):
        tracker.require()
    for page, runs in [(request.page, tracked_runs(plan_of(request), store)) for request in requests]:
        if options.tensorboard:
            changed = tensorboard.write(runs, options.tensorboard)
            print(f"{options.tensorboard / page}: {len(runs)} rows and seeds, {changed} of them new or changed")
        if options.wandb:
            wandb.write(runs, options.wandb)
            print(f"{page}: {len(runs)} rows and seeds logged to the project {options.wandb}")


def lines(plan: Plan, store: Store, held: dict[Path, Usage]) -> list[dict[str, Any]]:
    """All runs of a request, made or not."""
    return [
        {"stage": t.stage, "key": t.key, "rows": rows, "state": run.state, **measured([run], held)}
        for t, rows in plan.labels.items()
        for run in [t.run_in(store)]
    ]


def overview(requests: list[RememberedRequest], store: Store, held: dict[Path, Usage]) -> dict[str, Any]:
    """The runs of every request, the runs that no request wants, and all runs: counts, sizes and times."""
    every, wanted, of_requests = store.runs(), set[Path](), []
    done = {run.folder for run in every if run.state == "done"}
    for request in (r for r in requests if r.plan is not None):
        runs = request.runs(store)
        wanted |= {run.folder for run in runs}
        counts = {"done": sum(run.folder in done for run in runs), "planned": len(runs)}
        of_requests.append({"page": request.page, **counts, **measured(runs, held), "requested": request.at})
    unwanted = [run for run in every if run.folder not in wanted]
    return {
        "requests": of_requests,
        "no known study": {"runs": len(unwanted), **measured(unwanted, held)},
        "total": {"runs": len(every), **measured(every, held)},
    }


def measured(runs: list[Run], held: dict[Path, Usage]) -> dict[str, Any]:
    """The size of `runs` on disk in bytes, and the time of the last write (Unix time); None if there is none."""
    existing = [held[run.folder] for run in runs if run.folder in held]
    return {"bytes": sum(u.bytes for u in existing), "written": max((u.at for u in existing), default=None)}


def shown(page: str, runs: list[dict[str, Any]]) -> str:
    """The runs of a request as a table."""
    table = [
        (line["stage"], line["key"], line["rows"], line["state"], f"{line['bytes'] / MIB:.1f}", _age(line["written"]))
        for line in runs
    ]
    heads = ("stage", "key", "rows", "state", "MiB", "age")
    text = terminal.table(table, heads, spare=("age", "MiB"), right=("MiB", "age"))
    done, size = sum(line["state"] == "done" for line in runs), sum(line["bytes"] for line in runs)
    return f"{page}\n\n{text}\n\n{done} of {len(runs)} runs are done, {size / GIB:.2f} GiB"


def shown_overview(summary: dict[str, Any]) -> str:
    """One line per request, one for the runs that none wants, and the sum."""
    table = [
        (r["page"], f"{r['done']} of {r['planned']}", f"{r['bytes'] / GIB:.2f}", age(r["requested"]))
        for r in summary["requests"]
    ]
    for name in ("no known study", "total"):
        rest = summary[name]
        table.append((name, str(rest["runs"]), f"{rest['bytes'] / GIB:.2f}", _age(rest["written"])))
    text = terminal.table(table, ("page", "runs", "GiB", "age"), right=("runs", "GiB", "age"))
    parts = [summary["no known study"], *summary["requests"]]
    if sum(part["bytes"] for part in parts) > summary["total"]["bytes"]:
        text += "\n\nRuns that several requests want count in each of them, and once in the total."
    return text


def _age(at: float | None) -> str:
    return "–" if at is None else age(at)


if __name__ == "__main__":
    cli.run(main)
