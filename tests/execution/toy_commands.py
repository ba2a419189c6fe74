"""Commands of the toy that are forked, and the states and results that they leave in a store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness.store.runs import Run
from harness.system.files import read_json
from tests import toy

ROWS = 2
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


def told(code: int, said: str, reason: str, lines: int = 1) -> None:
    assert code == 1
    assert "Traceback" not in said
    assert 1 <= sum(reason in line for line in said.splitlines()) <= lines, said
