"""Commands of a checkout, forked from a process that has imported what they import: that saves seconds a command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import toy

# It looks at curves twenty times a second, so that tests may be quick.
SERVER = """
import importlib, json, os, sys
import cmaes, matplotlib.pyplot, pandas, scipy.stats, sklearn.ensemble, sqlalchemy, submitit
import optuna.importance, optuna.visualization.matplotlib
import torch  # of Optuna's Gaussian process
from harness import cli, report
from harness.execution import worker
from harness.execution.executors import inline, local
from harness.search import driver
from harness.system.environment import environment
from harness.system.machine import this_machine
import reports.sweep.page

driver.CHECK_SECONDS = 0.05
recorded = environment(this_machine())
worker.environment = lambda machine: recorded

for line in sys.stdin:
    asked = json.loads(line)
    if process := asked.get("wait"):
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
        continue
    if process := os.fork():
        print(process, flush=True)
        continue
    os.setpgrp()
    for number, place in enumerate((os.devnull, asked["output"], asked["errors"])):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), number)
    sys.argv[1:] = asked["words"]
    if asked["before"]:
        exec(asked["before"])
    try:
        cli.run(importlib.import_module(asked["module"]).main)
    except SystemExit as ended:  # taking apart what was imported would take longer than most commands
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    output: str
    errors: str


class Forks:
    """`python -m MODULE WORDS` in the checkout at `place`; what they say goes to files in `scratch`."""

    def __init__(self, place: Path, scratch: Path):
        self.place, self.scratch = place, scratch
        environment, pipe = toy.environment(place) | {"OMP_NUM_THREADS": "1"}, subprocess.PIPE
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True, env=environment
        )
        self.number = 0
        self.files: dict[int, tuple[Path, Path]] = {}

    def start(self, module: str, *words: str, before: str = "") -> int:
        """The number of a process that runs `before`, Python, and then the command."""
        self.number += 1
        output, errors = (self.scratch / f"{self.number}.{name}" for name in ("out", "err"))
        asked = {"module": module, "words": words, "before": before, "output": str(output), "errors": str(errors)}
        process = int(self._ask(asked))
        self.files[process] = output, errors
        return process

    def wait(self, process: int) -> Ended:
        code, (output, errors) = int(self._ask({"wait": process})), self.files.pop(process)
        return Ended(code, output.read_text(), errors.read_text())

    def __call__(self, module: str, *words: str, before: str = "") -> Ended:
        return self.wait(self.start(module, *words, before=before))

    def _ask(self, asked: dict[str, object]) -> str:
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()
