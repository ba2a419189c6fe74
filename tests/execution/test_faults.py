"""Kills, full disks, damaged files and commands side by side: the state in the end is right, nothing double or half."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from harness.execution import jobs
from harness.execution.executors import local
from harness.store.runs import Damaged, Run, Store
from harness.system.files import read_json
from harness.system.signals import stop_on_signal
from tests import toy

ROWS = 2
KILLS = 100
SIDE_BY_SIDE = 6
# Imports all that a command does and forks a process for each, which takes milliseconds. At the change of a file that
# has the number `kill` a fork kills itself; curves do not count. Its output comes by a pipe, which no limit cuts.
FORKS = """
import itertools, json, os, resource, signal, sys
import psutil, submitit, tqdm
from harness import cli
from harness.execution import worker
from harness.execution.executors import inline, local
from harness.system.environment import environment
from harness.system.machine import this_machine
import toy

recorded = environment(this_machine())
worker.environment = lambda machine: recorded
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.truncate")

def kill_at(number):
    numbers = itertools.count()
    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        counts = (writes or event in CHANGES) and "toy_" in str(arguments[0]) and "metrics" not in str(arguments[0])
        if counts and next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

pipes = {}
for line in sys.stdin:
    asked = json.loads(line)
    if process := asked.get("wait"):
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        os.write(pipes[process][1], b"\\n")
        print(json.dumps([code, os.read(pipes[process][0], 1 << 16).decode()]), flush=True)
        continue
    pipe = os.pipe()
    if process := os.fork():
        pipes[process] = pipe
        print(process, flush=True)
        continue
    os.setpgrp()
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), pipe[1], pipe[1])):
        os.dup2(file, number)
    if asked["limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"],) * 2)
    if asked["kill"] is not None:
        kill_at(asked["kill"])
    sys.argv[1:] = asked["words"]
    cli.run(toy.main)
"""


class Commands:
    """`python -m toy`, forked."""

    def __init__(self, place: Path):
        words, environment = [sys.executable, "-c", FORKS], toy.environment(place) | {"OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.forks = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)

    def start(
        self, runs: Path, *words: str, rows: int = ROWS, limit: int | None = None, kill: int | None = None
    ) -> int:
        words = ("--runs", str(runs), "--rows", str(rows), "--quiet", *words)
        return int(self._ask({"words": words, "limit": limit, "kill": kill}))

    def wait(self, process: int) -> tuple[int, str]:
        code, said = json.loads(self._ask({"wait": process}))
        return code, said.strip()

    def __call__(self, runs: Path, *words: str, **options: int | None) -> tuple[int, str]:
        return self.wait(self.start(runs, *words, **options))

    def _ask(self, asked: dict[str, object]) -> str:
        self.forks.stdin.write(json.dumps(asked) + "\n")
        self.forks.stdin.flush()
        return self.forks.stdout.readline()


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(toy.checkout(tmp_path_factory.mktemp("toy")))
    with commands.forks:
        yield commands


@pytest.fixture(scope="module")
def right(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, object]]:
    """The results of stores that nothing disturbed, by the number of rows."""
    found = {}
    for rows in (1, ROWS):
        runs = tmp_path_factory.mktemp("right")
        assert command(runs, rows=rows)[0] == 0
        found[rows] = toy.results(runs)
    assert len(found[ROWS]) == 1 + 3 * ROWS  # a training has curves
    return found


def states(runs: Path) -> list[str]:
    return [Run(path.parent).state for path in runs.glob("toy_*/*/status.json")]


def outcomes(runs: Path) -> dict[str, list[str]]:
    """How the attempts of every run ended."""
    statuses = {path.parent: read_json(path) for path in runs.glob("toy_*/*/status.json")}
    return {f"{run.parent.name} {run.name}": [a["outcome"] for a in s["attempts"]] for run, s in statuses.items()}


def ends_right(command: Commands, runs: Path, expected: dict[str, object], *words: str, rows: int = ROWS) -> None:
    code, said = command(runs, "--retry", "failed", *words, rows=rows)
    assert code == 0, said
    all_right(runs, expected)


def slow(runs: Path, seconds: float = 0.002) -> Path:
    for seed in range(ROWS):
        toy.behave(runs, seed, f"sleep {seconds}")
    return runs


def all_right(runs: Path, expected: dict[str, object], attempts: int | None = None) -> None:
    assert toy.results(runs) == expected
    for name, ended in outcomes(runs).items():
        assert ended.count("done") == 1 and ended[-1] == "done", (name, ended)
        assert attempts is None or len(ended) == attempts, (name, ended)


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


# No room


def told(code: int, said: str, reason: str, lines: int = 1) -> None:
    assert code == 1
    assert "Traceback" not in said
    assert 1 <= sum(reason in line for line in said.splitlines()) <= lines, said


@pytest.mark.parametrize("source", [False, True], ids=["empty", "one stage done"])
def test_files_that_may_not_grow(source, command, right, tmp_path):
    for limit in (0, 100, 1000, 2000, 4000, 6000 if source else 16000):
        runs = tmp_path / str(limit)
        if source:
            assert command(runs, rows=1)[0] == 0
            shutil.rmtree(runs / "toy_train")
            shutil.rmtree(runs / "toy_sum")
        told(*command(runs, rows=1, limit=limit), "File too large")
        ends_right(command, runs, right[1], rows=1)


def test_jobs_whose_files_may_not_grow(command, right, tmp_path):
    code, said = command(tmp_path, "--executor", "local", rows=1, limit=2000)
    told(code, said, "File too large")
    ends_right(command, tmp_path, right[1], "--executor", "local", rows=1)


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[], object]]:
    """A file system of that size at `place`, and what makes it large."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
    try:
        subprocess.run(words, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no mount here")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system may be mounted here: {error.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up(command, right, tmp_path):
    full = []
    for kilobytes in range(4, 160, 12):
        with small_disk(tmp_path / str(kilobytes), kilobytes) as enlarge:
            runs = tmp_path / str(kilobytes)
            code, said = command(runs, rows=1)
            if code:
                told(code, said, "No space left on device", lines=2)  # of the stage, and that this cannot be noted
                full.append(kilobytes)
            enlarge()
            ends_right(command, runs, right[1], rows=1)
    assert len(full) >= 5, full


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def stores(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished store and one whose training ended in the middle, both with all files that jobs leave."""
    place = tmp_path_factory.mktemp("stores")
    assert command(place / "finished", "--executor", "local", rows=1)[0] == 0
    toy.behave(place / "interrupted", 0, "exit")
    assert command(place / "interrupted", "--executor", "local", rows=1)[0] == 1
    toy.behave(place / "interrupted", 0, "")
    found = {name: place / name for name in ("finished", "interrupted")}
    kinds = {name: {Path(file).name for file in files(runs)} for name, runs in found.items()}
    always = {"config.json", "experiment.json", "status.json", "result.json", "job.json", "metrics.csv", "bytes.bin"}
    assert kinds["finished"] == always | {"state.txt"}
    assert kinds["interrupted"] == always | {"checkpoint.pt", "progress.json"}
    return found


def files(runs: Path) -> list[str]:
    return sorted(str(path.relative_to(runs)) for path in runs.glob("toy_*/*/*"))


# curves become part of the result.
@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize(("store", "read"), [("finished", True), ("finished", False), ("interrupted", True)])
def test_damage_of_every_file(store, read, damage, stores, command, right, tmp_path):
    damaged = {file: tmp_path / file.replace("/", " ") for file in files(stores[store])}
    for file, runs in damaged.items():
        shutil.copytree(stores[store], runs)
        damage(runs / file)
        if read and store == "finished":
            for reader in toy.STAGES[toy.STAGES.index(file.split("/")[0]) + 1 :]:
                shutil.rmtree(runs / reader)
    first = _together(command, damaged)
    again = _together(command, {file: runs for file, runs in damaged.items() if first[file][0]})
    unseen = set()
    for file, runs in damaged.items():
        stage, key, name = file.split("/")
        (code, said), (code_again, said_again) = first[file], again.get(file, first[file])
        assert code_again == 0, (file, said, said_again)
        assert "Traceback" not in said + said_again, (file, said, said_again)
        assert code == 0 or (name in said and "run its study again to make it again" in said), (file, said)
        run = Store(runs).run(stage, key)
        try:
            run.checked_folder()
        except Damaged as error:
            assert error.run.folder == run.folder and name in str(error)
            unseen.add(name)
            assert said == "done done done"
            shutil.copy(stores[store] / file, runs / file)
        assert toy.results(runs) == right[1], file
    never = {"metrics.csv"} if store == "finished" else set()  # no stage reads curves
    assert unseen == (never if read else {*never, "bytes.bin", "state.txt"})


def _together(command: Commands, stores: dict[str, Path]) -> dict[str, tuple[int, str]]:
    processes = {name: command.start(runs, "--retry", "failed", rows=1) for name, runs in stores.items()}
    return {name: command.wait(process) for name, process in processes.items()}


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
    assert toy.states(tmp_path) == done | {"toy_train-1": "failed"}
    assert said.splitlines()[-1] == "done done done failed waiting"
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
