"""`python -m harness.runs [STUDY]`: what the store holds of every request that it remembers, or every run of one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness import cli
from harness.planning.plan import Plan
from harness.planning.request_log import Remembered, remembered
from harness.store.exchange import export, take
from harness.store.runs import Run, Store
from harness.store.usage import GIB, MIB, Usage, age, usage
from harness.system.errors import Mistake, unknown


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("runs", "what the store holds of every request that it remembers; of one, every run")
    cli.add_store(parser)
    parser.add_argument("study", nargs="?", metavar="STUDY", help="a study or the name of a page: its runs")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write its results there, a file a seed, no weights")
    parser.add_argument("--take", type=Path, nargs="+", metavar="FILE", help="take such files into the store")
    options = parser.parse_args(arguments)
    if options.take:
        for path in options.take:
            taken, there = take(path, Store(options.runs))
            print(f"{path}: {taken} runs taken, {there} were there")
        return 0
    store = cli.existing_store(options)
    requests = remembered(store)
    if options.study:
        requests = named(options.study, requests, store)
    if options.export:
        for path, count in exported(options, requests, store).items():
            print(f"{path}: {count} runs")
        return 0
    held = {run.folder: usage(run.folder) for run in store.runs()}
    for request in requests:
        if request.plan is None:
            print(f"{request.page}: its runs cannot be told: {request.trouble}", file=sys.stderr)
    if options.study:
        tables = {r.page: lines(r.plan, store, held) for r in requests if r.plan is not None}
        print(json.dumps(tables, indent=1) if options.json else "\n\n".join(map(shown, tables, tables.values())))
    else:
        found = overview(requests, store, held)
        print(json.dumps(found, indent=1) if options.json else shown_overview(found))
    return 0


def named(name: str, requests: list[Remembered], store: Store) -> list[Remembered]:
    """The requests of a study, or the one of a page; raises `Mistake`."""
    found = [request for request in requests if name in (request.page, request.study)]
    if not requests:
        raise Mistake(f"{store.root} remembers no request: python -m harness.ablate STUDY makes one")
    if not found:
        raise unknown("study or page", name, dict.fromkeys(n for r in requests for n in (r.study, r.page) if n))
    return found


def exported(options: argparse.Namespace, requests: list[Remembered], store: Store) -> dict[Path, int]:
    """Writes the results of the one request that is meant; raises `Mistake` where that is not clear."""
    if not options.study or len(requests) != 1:
        pages = ", ".join(request.page for request in requests)
        raise Mistake(f"--export takes one page: {pages}")
    if requests[0].plan is None:
        raise Mistake(f"{requests[0].page}: its runs cannot be told: {requests[0].trouble}")
    written = export(requests[0].plan.runs_by_seed(store), options.export)
    if not written:
        raise Mistake(f"nothing of {requests[0].page} is done in {store.root}")
    return written


def lines(plan: Plan, store: Store, held: dict[Path, Usage]) -> list[dict[str, Any]]:
    """Every run of a request, made or not."""
    return [
        {"stage": t.stage, "key": t.key, "rows": rows, "state": run.state, **measured([run], held)}
        for t, rows in plan.labels.items()
        for run in [t.run_in(store)]
    ]


def overview(requests: list[Remembered], store: Store, held: dict[Path, Usage]) -> dict[str, Any]:
    """What every request has of the runs that it wants, what no request wants, and all of it."""
    every, wanted, of_requests = store.runs(), set[Path](), []
    done = {run.folder for run in every if run.state == "done"}
    for request in (r for r in requests if r.plan is not None):
        runs = request.runs(store)
        wanted |= {run.folder for run in runs}
        counts = {"done": sum(run.folder in done for run in runs), "planned": len(runs)}
        of_requests.append({"page": request.page, **counts, **measured(runs, held), "requested": request.at})
    loose = [run for run in every if run.folder not in wanted]
    return {
        "requests": of_requests,
        "no study": {"runs": len(loose), **measured(loose, held)},
        "total": {"runs": len(every), **measured(every, held)},
    }


def measured(runs: list[Run], held: dict[Path, Usage]) -> dict[str, Any]:
    """The bytes of what there is of `runs`, and the last write to it (Unix time); None where there is nothing."""
    found = [held[run.folder] for run in runs if run.folder in held]
    return {"bytes": sum(u.bytes for u in found), "written": max((u.at for u in found), default=None)}


def shown(page: str, found: list[dict[str, Any]]) -> str:
    """The runs of a request as a table."""
    table = [
        (line["stage"], line["key"], line["rows"], line["state"], f"{line['bytes'] / MIB:.1f}", _age(line["written"]))
        for line in found
    ]
    heads = ("stage", "key", "rows", "state", "MiB", "age")
    text = tabulate(table, heads, disable_numparse=True, colalign=("left", "left", "left", "left", "right", "right"))
    done, size = sum(line["state"] == "done" for line in found), sum(line["bytes"] for line in found)
    return f"{page}\n\n{text}\n\n{done} of {len(found)} runs are done, {size / GIB:.2f} GiB"


def shown_overview(found: dict[str, Any]) -> str:
    """One line a request, one for what none wants, and the sum."""
    table = [
        (r["page"], f"{r['done']} of {r['planned']}", f"{r['bytes'] / GIB:.2f}", age(r["requested"]))
        for r in found["requests"]
    ]
    for name in ("no study", "total"):
        rest = found[name]
        table.append((name, str(rest["runs"]), f"{rest['bytes'] / GIB:.2f}", _age(rest["written"])))
    text = tabulate(
        table, ("page", "runs", "GiB", "age"), disable_numparse=True, colalign=("left", "right", "right", "right")
    )
    parts = [found["no study"], *found["requests"]]
    if sum(part["bytes"] for part in parts) > found["total"]["bytes"]:
        text += "\n\nRuns that several requests want count in each of them, and once in the total."
    return text


def _age(at: float | None) -> str:
    return "–" if at is None else age(at)


if __name__ == "__main__":
    cli.run(main)
