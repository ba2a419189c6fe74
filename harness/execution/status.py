"""The progress of every run, and what went wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from tabulate import tabulate

from harness.execution import jobs
from harness.store.runs import Run
from harness.system.errors import Trouble
from harness.system.progress import progress_of

SHOWN = ("train/loss", "val/velocity", "val/psnr", "val/active_units")  # metrics in the table, if the run has them


@dataclass
class Line:
    """The status of one run. `seconds` is the sum over all attempts, `left_seconds` an estimate from the rate."""

    stage: str
    key: str
    rows: str
    state: str
    reason: str
    restarts: int
    done: int | None = None
    total: int | None = None
    unit: str = ""
    rate: float | None = None
    left_seconds: float | None = None
    seconds: float = 0.0
    job: str = ""
    scheduler: str = ""
    log: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    last_lines: list[str] = field(default_factory=list)


def describe(runs: dict[Run, str]) -> list[Line]:
    """One line per run, from the folder of the run and the state of its job."""
    try:
        words = {run: word for run, (_, word) in jobs.alive(runs).items()}
    except Trouble as error:  # the folders still show most of it
        print(f"{error} Queued runs are shown as waiting.", file=sys.stderr)
        words = {}
    return [_line(run, rows, words.get(run, "")) for run, rows in runs.items()]


def _line(run: Run, rows: str, scheduler: str) -> Line:
    status, state, job = run.status(), run.state, jobs.submitted(run)
    if state == "running" and not scheduler and not run.locked:
        state = "killed"
    elif scheduler and (state in ("waiting", "stopped") or scheduler.startswith("PENDING")):
        state = "queued"  # a run that was killed may be back in the queue
    line = Line(run.stage, run.key, rows, state, status["reason"], max(0, len(status["attempts"]) - 1))
    line.seconds = sum(attempt["seconds"] for attempt in status["attempts"])
    line.metrics = run.curves.last()
    if job is not None:
        line.job, line.log, line.scheduler = f"{job.executor} {job.id}", job.log, scheduler
    killed = bool(status["attempts"]) and status["attempts"][-1]["outcome"] == "killed"
    if state in ("failed", "damaged", "killed") or (state == "stopped" and killed):
        line.last_lines = job.last_lines() if job is not None else []
    progress = progress_of(run.folder)
    if progress is not None and state != "done":
        line.done, line.total, line.unit = progress["done"], progress["total"], progress["unit"]
        seconds = progress["at"] - progress["began"]
        if state == "running" and seconds > 0 and progress["done"] > progress["begun"]:
            line.rate = (progress["done"] - progress["begun"]) / seconds
            line.left_seconds = (progress["total"] - progress["done"]) / line.rate
    return line


def shown(lines: list[Line], every: bool) -> str:
    """A table of every line, or of the lines that are not done; the errors are below it."""
    listed = [line for line in lines if every or line.state != "done"]
    table = tabulate(
        [
            {
                "stage": line.stage,
                "rows": line.rows or line.key,
                "state": line.state,
                "restarts": line.restarts or "",
                "progress": f"{line.done}/{line.total} {line.unit}s" if line.total else "",
                "rate": f"{line.rate:.3g}/s" if line.rate else "",
                "left": _duration(line.left_seconds),
                "took": _duration(line.seconds or None),
                "last metrics": ", ".join(f"{n} {line.metrics[n]:.4g}" for n in SHOWN if n in line.metrics),
                "job": f"{line.job} {line.scheduler}" if line.state in ("running", "queued", "failed") else "",
            }
            for line in listed
        ],
        headers="keys",
        disable_numparse=True,
    )
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.state] = counts.get(line.state, 0) + 1
    parts = [table] if listed else []
    for line in lines:
        if line.state in ("failed", "damaged", "diverged", "killed", "stopped") and (line.reason or line.last_lines):
            message = [f"{line.stage} {line.key}{f' of {line.rows}' if line.rows else ''}: {line.state}, {line.reason}"]
            parts.append("\n    ".join([*message, *line.last_lines, *([f"log: {line.log}"] if line.log else [])]))
    left = [line.left_seconds for line in lines if line.left_seconds is not None]
    summary = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing here"
    if left:
        summary += f"; running stages take {_duration(max(left))} more"
    return "\n\n".join([*parts, summary])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
