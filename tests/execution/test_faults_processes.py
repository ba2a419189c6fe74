"""After kills, signals, failures and commands side by side the state is right, and nothing is double or half."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from itertools import count
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from harness.execution import jobs
from harness.execution.executors import local
from harness.store.runs import Store
from harness.system.signals import stop_on_signal
from tests import toy
from tests.execution.toy_commands import ROWS, all_right, ends_right, outcomes, slow, states

pytestmark = pytest.mark.slow

KILLS = 100
SIDE_BY_SIDE = 6

# Kills


def test_killed_at_many_moments(command, right, tmp_path):
    dice, killed, during = random.Random(0), 0, Counter[str]()
    began = time.monotonic()
    assert command(slow(tmp_path / "whole"))[0] == 0
    seconds = time.monotonic() - began
    fresh = (slow(tmp_path / str(number)) for number in count())
    unfinished = [next(fresh) for _ in range(SIDE_BY_SIDE)]
    while unfinished:
        processes, began = {command.start(runs): runs for runs in unfinished}, time.monotonic()
        if killed < KILLS:
            for moment, process in sorted((dice.uniform(0, seconds), process) for process in processes):
                time.sleep(max(0, began + moment - time.monotonic()))
                os.kill(process, signal.SIGKILL)
        for process, runs in processes.items():
            code, said = command.wait(process)
            if code == -signal.SIGKILL:
                killed += 1
                during.update(state for state in states(runs) if state == "running")
                continue
            assert code == 0, said
            all_right(runs, right[ROWS])
            unfinished.remove(runs)
            if killed < KILLS:
                unfinished.append(next(fresh))
    assert during["running"] > killed / 3, during  # the others fall between stages


def test_killed_at_every_change_of_a_file(command, right, tmp_path):
    for first in count(0, SIDE_BY_SIDE):
        stores = {number: tmp_path / str(number) for number in range(first, first + SIDE_BY_SIDE)}
        killed = [command.start(runs, rows=1, kill=number) for number, runs in stores.items()]
        codes = [command.wait(process)[0] for process in killed]
        again = [command.start(runs, rows=1) for runs in stores.values()]
        for process, runs in zip(again, stores.values(), strict=True):
            code, said = command.wait(process)
            assert code == 0, said
            all_right(runs, right[1])
        if 0 in codes:
            break
        assert set(codes) == {-signal.SIGKILL}
    assert first > 60


def test_jobs_outlive_their_command(command, right, tmp_path):
    dice, killed = random.Random(1), 0
    for store in range(3):
        runs = slow(tmp_path / str(store))
        process = command.start(runs, "--executor", "local")
        time.sleep(dice.uniform(0.02, 1.3))
        os.kill(process, signal.SIGKILL)
        killed += command.wait(process)[0] == -signal.SIGKILL
        code, said = command(runs, "--executor", "local")
        assert code == 0, said
        all_right(runs, right[ROWS], attempts=1)
    assert killed >= 2


# Side by side


@pytest.mark.parametrize(("first", "second"), [("inline", "inline"), ("local", "local"), ("local", "inline")])
def test_two_commands_at_once(first, second, command, right, tmp_path):
    runs = slow(tmp_path)
    processes = [command.start(runs, "--executor", executor) for executor in (first, second)]
    for process in processes:
        code, said = command.wait(process)
        assert code == 0, said
    all_right(runs, right[ROWS], attempts=1)


def test_a_job_may_be_noted_while_another_begins(tmp_path):
    run, over, errors = Store(tmp_path).run("toy_source", "0123"), Event(), []

    def note() -> None:
        try:
            while not over.is_set():
                jobs.record(run, "local", "1", tmp_path / "log")
        except OSError as error:
            errors.append(error)

    noting = Thread(target=note)
    noting.start()
    try:
        for _ in range(100):
            run.begin({}, {})
    finally:
        over.set()
        noting.join()
    assert not errors


def test_a_job_that_is_noted_later_is_not_work(tmp_path):
    run = Store(tmp_path).run("toy_source", "0123")
    run.begin({}, {})
    jobs.record(run, "local", "1", tmp_path / "log")
    os.utime(run.folder / "job.json", (time.time() + 1000,) * 2)
    run.begin({}, {})
    assert run.status()["attempts"][0]["outcome"] == "killed"
    assert run.seconds < 500


# Failures


@pytest.mark.parametrize(
    ("executor", "how"), [("inline", "fail"), ("inline", "bug"), ("local", "bug"), ("local", "exit")]
)
def test_a_failure_takes_its_row_only(executor, how, command, right, tmp_path):
    words = ("--executor", executor)
    toy.behave(tmp_path, 1, how)
    code, said = command(tmp_path, *words)
    assert code == 1
    done = dict.fromkeys(("toy_source-0", "toy_train-0", "toy_sum-0"), "done")
    ends = "stopped" if how == "exit" else "failed"  # an end without a word may be a kill: the same command goes on
    assert toy.states(tmp_path) == done | {"toy_train-1": ends}
    assert said.splitlines()[-1] == f"done done done {ends} waiting"
    if how == "exit":
        return
    before = outcomes(tmp_path)
    assert command(tmp_path, *words)[0] == 1
    assert outcomes(tmp_path) == before
    toy.behave(tmp_path, 1, "")
    ends_right(command, tmp_path, right[ROWS], *words)
    assert sum(len(ended) for ended in outcomes(tmp_path).values()) == sum(map(len, before.values())) + 2


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("executor", ["inline", "local"])
def test_stopped_at_many_moments(executor, number, command, right, tmp_path):
    dice, words, seen = random.Random(number + 8), ("--executor", executor), Counter[str]()
    # The sleeps alone take longer than the wait for the signal.
    seconds, wait, stores = (0.005, 0.25, 5) if executor == "inline" else (0.02, 0.9, 1)
    for store in range(stores):
        runs = slow(tmp_path / str(store), seconds)
        process = command.start(runs, *words)
        while not list(runs.glob("toy_*/*/status.json")):
            time.sleep(0.001)
        time.sleep(dice.uniform(0, wait))
        # A terminal sends Ctrl-C to the jobs too.
        (os.killpg if number == signal.SIGINT else os.kill)(process, number)
        code, said = command.wait(process)
        assert code == 130, said
        assert "Traceback" not in said
        assert "the same command goes on" in said
        assert set(states(runs)) <= {"done", "stopped"}
        seen.update(states(runs))
        began = time.monotonic()
        while survivors := _processes(runs):
            assert time.monotonic() - began < 5, survivors
            time.sleep(0.05)
        ends_right(command, slow(runs, 0), right[ROWS], *words)
    assert seen["stopped"] or executor == "local"  # where it may hit the end of one job, before the next


def test_an_interrupt_while_a_job_is_submitted_is_not_lost(tmp_path):
    with stop_on_signal() as should_stop:
        with local._environment(tmp_path, 1):
            os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()


def _processes(runs: Path) -> list[list[str]]:
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(runs) in word for word in line)]


# Local jobs


def of_job(number: str, what: str) -> list[psutil.Process]:
    """The processes of a local job: `controller` or `worker`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            controller = process.pid == int(number) and "submitit.local._local" in words
            worker = "submitit.core._submit" in words and process.environ().get("SUBMITIT_LOCAL_JOB_ID") == number
            if controller if what == "controller" else worker:
                found.append(process)
    return found


@pytest.mark.parametrize("what", ["worker", "controller"])
def test_a_local_job_may_be_killed_and_the_same_command_goes_on(what, command, right, tmp_path):
    toy.behave(tmp_path, 0, "sleep 0.2")
    running = command.start(tmp_path, "--executor", "local", rows=1)
    until = time.monotonic() + 60
    job = None
    while job is None or not of_job(job.id, "worker") or not list(tmp_path.glob("toy_train/*/metrics.csv")):
        assert time.monotonic() < until
        runs = [run for run in Store(tmp_path).runs() if run.stage == "toy_train"]
        job = jobs.submitted(runs[0]) if runs else None
        time.sleep(0.05)
    for process in of_job(job.id, what):
        process.kill()
    code, said = command.wait(running)
    assert code == 1 and "--retry" not in said, said
    assert not of_job(job.id, "worker")
    run = next(run for run in Store(tmp_path).runs() if run.stage == "toy_train")
    assert run.state == "stopped"
    assert ("was killed" in run.status()["reason"]) == (what == "worker")
    toy.behave(tmp_path, 0, "")
    code, said = command(tmp_path, "--executor", "local", rows=1)
    assert code == 0, said
    assert toy.results(tmp_path) == right[1]
