"""Processes that time works on demand: one for each of two revisions, or several side by side."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.benchmarks import works
from harness.execution import code_copy
from harness.execution.together import MOST
from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake
from harness.system.machine import MEMORY, cores

ROUNDS = 9  # of two revisions in turn: the second and the last but one of 9 ratios enclose their median with 96 %
FEW_ROUNDS = 3
LEAST_SECONDS = 0.5  # of a measurement


class Case(NamedTuple):
    """A scale, a variant and a batch (None: the scale's) to time."""

    scale: str
    variant: str
    batch: int | None


class Server:
    """A process that runs `works.py` with the code in the folder `tree`."""

    def __init__(self, case: Case, tree: Path = CHECKOUT, threads: int | None = None):
        script = tree / "harness_bench_works.py"
        if tree == CHECKOUT:
            script = Path(works.__file__)
        else:
            shutil.copy(works.__file__, script)
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, **code_copy.environment(tree)}
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), **MEMORY}
        self.process = subprocess.Popen(
            [sys.executable, str(script), case.scale, case.variant, str(case.batch or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            cwd=tree,
            encoding="utf-8",
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # what it did not read before it ended
                pipe.close()

    def send(self, work: str, calls: int) -> None:
        """Begins to time calls of a work."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"work": work, "calls": calls}) + "\n")
            self.process.stdin.flush()

    def receive(self) -> float | str:
        """The seconds of the calls, or why they cannot be timed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self.last_words()}
        return float(answer["seconds"]) if "seconds" in answer else str(answer["error"])

    def last_words(self) -> str:
        """The last line of the errors of a process that ends."""
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "the process ended")

    def time(self, work: str, calls: int) -> float | str:
        """`send` and `receive`."""
        self.send(work, calls)
        return self.receive()


def against(revision: str, case: Case, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every work in `revision` and here, in turn: medians, and the median ratio with its 96 % interval.

    A ratio above 1 says that this revision is faster. Raises `Mistake` for a revision that is unknown, or too far from
    this one for its code to be timed by the same program.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        tree = Path(folder)
        _check_out(revision, tree)
        before, here = (stack.enter_context(Server(case, where)) for where in (tree, CHECKOUT))
        for name in names:
            begun = before.time(name, 1)
            if before.process.poll() is not None:
                raise Mistake(f"--against {revision}: its code cannot be timed: {begun}")
            yield {"work": name, **_in_turn(before, here, name)}


def _in_turn(before: Server, here: Server, name: str) -> dict[str, Any]:
    first = here.time(name, 1)
    calls = 1 if isinstance(first, str) else max(1, math.ceil(LEAST_SECONDS / first))
    pairs = []
    for _ in range(ROUNDS):
        old, new = before.time(name, calls), here.time(name, calls)
        if isinstance(old, str) or isinstance(new, str):
            return {"not timed": old if isinstance(old, str) else new}
        pairs.append((1000 * old / calls, 1000 * new / calls))
    ratios = sorted(old / new for old, new in pairs)
    return {
        "ms before": statistics.median(old for old, _ in pairs),
        "ms here": statistics.median(new for _, new in pairs),
        "ratio": statistics.median(ratios),
        "from": ratios[1],
        "to": ratios[-2],
    }


def _check_out(revision: str, folder: Path) -> None:
    """Writes the files of a revision to `folder`."""
    made = subprocess.run(
        ["git", "-C", str(CHECKOUT), "archive", "--format=tar", revision], capture_output=True, check=False
    )
    if made.returncode:
        raise Mistake(f"--against {revision}: {made.stderr.decode(errors='replace').strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=made.stdout, check=True)


def side_by_side(case: Case, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What several processes gain that share this machine, each with a part of the cores, over one with all.

    The gain is that of items a second. Both are timed in turn.
    """
    threads, count = cores(), min(cores(), MOST)
    if count == 1:
        return
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(Server(case, threads=threads))
        several = [stack.enter_context(Server(case, threads=threads // count)) for _ in range(count)]
        for name in names:
            first = alone.time(name, 1)
            if isinstance(first, str):
                yield {"work": name, "not timed": first}
                continue
            for server in several:
                server.time(name, 1)
            calls, gains = max(1, math.ceil(4 * LEAST_SECONDS / first)), []
            for _ in range(FEW_ROUNDS):
                single = alone.time(name, calls)
                began = time.perf_counter()
                for server in several:
                    server.send(name, calls)
                for server in several:
                    server.receive()
                assert isinstance(single, float)
                gains.append(count * single / (time.perf_counter() - began))
            yield {"work": name, "processes": count, "gain": statistics.median(gains)}
