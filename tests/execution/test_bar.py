"""The bar of a command: on a terminal one line that fits, elsewhere one line for every stage that is done."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pty
import re
import subprocess
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Fixed, Options
from harness.experiments.scales import scale
from harness.planning.task import Task, tasks
from harness.store.runs import Store
from harness.system.progress import Progress, duration, say
from tests import toy

ROWS = "+ local alignment, + semantic mask, + global alignment"
ESCAPES = re.compile(r"\x1b\[[0-9]*[A-Za-z]")


def backlog_of(root: Path, rows: int = 2) -> Backlog:
    planned = tasks([dataclasses.replace(scale("smoke").experiment, seed=seed) for seed in range(rows)])
    backlog = Backlog(Fixed(dict.fromkeys(planned, ROWS)), Store(root), Options())
    backlog.fresh()
    return backlog


def begun(bar: StagesBar, task: Task) -> None:
    run = task.run_in(bar.backlog.store)
    run.begin(task.identity, {"scale": "smoke"})
    bar.begin(task)


def ended(bar: StagesBar, task: Task) -> None:
    task.run_in(bar.backlog.store).finish([], {"units": 1.0})
    bar.end(task)


def whole(bar: StagesBar) -> None:
    for task in bar.backlog.taken:
        begun(bar, task)
        with Progress(task.run_in(bar.backlog.store).folder, 40, "step", 0) as progress:
            progress.show({"loss": "3.1416"})
            progress.update(7)
        bar._refreshed = 0.0
        bar.refresh()
        ended(bar, task)


def test_without_a_terminal_a_stage_leaves_one_line_and_nothing_is_drawn_over(tmp_path, capfd):
    backlog = backlog_of(tmp_path)
    with StagesBar(backlog, 1, quiet=False) as bar:
        whole(bar)
    text = capfd.readouterr().err
    assert "\r" not in text and "\x1b" not in text
    lines, total = text.splitlines(), len(backlog.taken)
    assert [line.partition("]")[0] for line in lines] == [f"[{n} of {total} stages" for n in range(1, total + 1)]
    assert all(ROWS in line for line in lines)
    assert "at least" not in text


def test_quiet_is_silent(tmp_path, capfd):
    with StagesBar(backlog_of(tmp_path), 1, quiet=True) as bar:
        whole(bar)
    assert capfd.readouterr() == ("", "")


def test_what_failed_leaves_no_line_of_the_bar(tmp_path, capfd):
    backlog = backlog_of(tmp_path)
    first, second = list(backlog.taken)[:2]
    with StagesBar(backlog, 1, quiet=False) as bar:
        begun(bar, first)
        first.run_in(backlog.store).end("failed", "disk full")
        bar.end(first)
        begun(bar, second)
        ended(bar, second)
    assert capfd.readouterr().err.startswith(f"[2 of {len(backlog.taken)} stages] {second.stage} ")


def read_all(terminal: int) -> str:
    """All that is written to the other end of a pseudo-terminal, until that is closed."""
    parts = []
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as stream:
        while part := stream.read(4096):
            parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [80, 132])
def test_on_a_terminal_there_is_one_bar_that_fits_and_keeps_its_numbers(columns, tmp_path, monkeypatch):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    backlog = backlog_of(tmp_path, rows=1)
    with open(theirs, "w") as stream, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        reader = ThreadPoolExecutor(1).submit(read_all, ours)
        with StagesBar(backlog, 1, quiet=False) as bar:
            whole(bar)
            say("trial 3: done")
    text = ESCAPES.sub("", reader.result())
    drawn = [line for line in re.split(r"[\r\n]+", text) if re.match(r"\d+/\d+ stages", line)]
    total = len(backlog.taken)
    assert max(map(len, drawn)) <= columns
    for n, _ in enumerate(backlog.taken):
        assert any(line.startswith(f"{n}/{total} stages") for line in drawn)
    assert any("7/40 steps, loss 3.1416" in line for line in drawn)
    kept = [line for line in re.split(r"[\r\n]+", text) if line.startswith("[")]
    assert len(kept) == total
    assert "trial 3: done" in text


def test_the_time_left_is_that_of_all_other_stages(tmp_path, monkeypatch):
    backlog = backlog_of(tmp_path)
    other = list(backlog.taken)[1]
    with StagesBar(backlog, 2, quiet=False) as bar:
        assert bar.time_left() == ""  # nothing has run yet
        monkeypatch.setattr(bar._durations, "seconds", lambda task: 30.0)
        assert bar.time_left() == f"{duration(15 * len(backlog.taken))} left"
        monkeypatch.setattr(bar._durations, "seconds", lambda task: 600.0 if task == other else None)
        assert bar.time_left() == ""  # a sum over those that are known would count up
    with StagesBar(backlog, None, quiet=False) as bar:
        assert bar.time_left() == ""  # nobody knows when jobs leave the queue


def test_a_stage_that_runs_counts_by_its_rate(tmp_path, monkeypatch):
    backlog = backlog_of(tmp_path)
    task = next(iter(backlog.taken))
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    with StagesBar(backlog, 1, quiet=False) as bar:
        begun(bar, task)
        with Progress(task.run_in(backlog.store).folder, 110, "step", 10) as progress:
            now[0] += 5
            progress.update(50)
        assert bar._left_of(task) == pytest.approx(5)
        assert bar.time_left() == ""
        monkeypatch.setattr(bar._durations, "seconds", lambda task: 0.0)
        assert bar.time_left() == "5 s left"


def test_stages_are_counted_so_far_as_they_are_known_and_their_time_to_the_end(tmp_path, monkeypatch, capfd):
    backlog = backlog_of(tmp_path, rows=1)
    first, *_ = backlog.taken
    known = len(backlog.taken)
    monkeypatch.setattr(Fixed, "ahead", lambda _: list(backlog.taken) * 3)
    assert backlog.summary == f"{known} of {known} stages to run so far"
    with StagesBar(backlog, 1, quiet=False) as bar:
        monkeypatch.setattr(bar._durations, "seconds", lambda task: 30.0)
        assert bar.time_left() == f"{duration(30 * 4 * known)} left"
        begun(bar, first)
        ended(bar, first)
    assert capfd.readouterr().err.startswith(f"[1 of {known} stages so far] {first.stage} of ")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


WAYS = {"together": (), "inline": ("--workers", "1"), "local": ("--executor", "local")}


@pytest.mark.parametrize("way", WAYS)
def test_the_log_of_a_command_is_calm(way, checkout, tmp_path):
    words = [*toy.COMMAND, "--runs", str(tmp_path), "--rows", "2", *WAYS[way]]
    done = subprocess.run(words, env=toy.environment(checkout), capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    first, *lines = done.stderr.splitlines()
    assert "stages to run" in first
    stages = sorted(path.name for path in tmp_path.glob("toy_*/[!.]*"))
    counts = [f"[{n} of {len(stages)} stages" for n in range(1, len(stages) + 1)]
    assert [line.partition("]")[0] for line in lines] == counts


@pytest.mark.parametrize("way", WAYS)
def test_a_command_on_a_terminal_has_one_bar(way, checkout, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    toy.behave(tmp_path, 0, "sleep 0.1")
    reader = ThreadPoolExecutor(1).submit(read_all, ours)
    words = [*toy.COMMAND, "--runs", str(tmp_path), "--rows", "2", *WAYS[way]]
    subprocess.run(words, env=toy.environment(checkout), stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    os.close(theirs)
    lines = re.split(r"[\r\n]+", ESCAPES.sub("", reader.result()))
    drawn = [line for line in lines if re.match(r"\d+/\d+ stages", line)]
    assert drawn and max(map(len, drawn)) <= 80
    assert any("toy_train" in line and "/30 steps" in line for line in drawn)
    stages = list(tmp_path.glob("toy_*/[!.]*"))
    assert sum(bool(re.match(r"\[\d+ of \d+ stages\]", line)) for line in lines) == len(stages)
