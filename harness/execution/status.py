"""The progress of every run, and what went wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from harness.execution import jobs
from harness.store.runs import Run
from harness.system import terminal
from harness.system.errors import Trouble
from harness.system.progress import duration, progress_of, rate_of

SHOWN = ("train/loss", "val/velocity", "val/psnr", "val/active_units")  # metrics that are shown, if the run has them


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
        if state == "running" and (rate := rate_of(progress)) is not None:
            line.rate = rate
            line.left_seconds = (progress["total"] - progress["done"]) / line.rate
    return line


def summary(lines: list[Line]) -> str:
    """How many stages are in which state, how far those that run are, and what went wrong."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.state] = counts.get(line.state, 0) + 1
    text = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing here"
    if left := [line.left_seconds for line in lines if line.left_seconds is not None]:
        text += f"; running stages take {duration(max(left))} more"
    running = [f"  {_name(line)}: {_how_far(line)}" for line in lines if line.state == "running"]
    return "\n\n".join(["\n".join([text, *running]), *filter(None, map(_problem, lines))])


def table(lines: list[Line]) -> str:
    """A table of all lines."""
    heads = ("stage", "rows", "state", "restarts", "progress", "left", "took", "last metrics", "job")
    cells = [
        (
            line.stage,
            line.rows or line.key,
            line.state,
            line.restarts or "",
            _units(line),
            _time(line.left_seconds),
            _time(line.seconds or None),
            ", ".join(f"{n} {line.metrics[n]:.4g}" for n in SHOWN if n in line.metrics),
            f"{line.job} {line.scheduler}".strip() if line.state in ("running", "queued", "failed") else "",
        )
        for line in lines
    ]
    return terminal.table(cells, heads, spare=("restarts", "job", "last metrics"))


def _name(line: Line) -> str:
    return f"{line.stage} {line.key}{f' of {line.rows}' if line.rows else ''}"


def _how_far(line: Line) -> str:
    """The progress of a stage that runs, its rate, the time left and its last metrics."""
    left = f"{_time(line.left_seconds)} left" if line.left_seconds is not None else ""
    rate = f"{line.rate:.3g}/s" if line.rate else ""
    metrics = (f"{n} {line.metrics[n]:.4g}" for n in SHOWN if n in line.metrics)
    return ", ".join(filter(None, [_units(line), rate, left, *metrics])) or "it has just begun"


def _units(line: Line) -> str:
    return f"{line.done}/{line.total} {line.unit}s" if line.total else ""


def _problem(line: Line) -> str:
    """What went wrong with a stage, with the last lines of its log; nothing for any other stage."""
    if line.state not in ("failed", "damaged", "diverged", "killed", "stopped"):
        return ""
    told = ", ".join(filter(None, [line.state, line.reason, _units(line)]))
    message = [f"{_name(line)}: {told}", *line.last_lines]
    return "\n    ".join([*message, *([f"log: {line.log}"] if line.log else [])])


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
