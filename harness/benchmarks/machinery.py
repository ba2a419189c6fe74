"""Seconds of what is no computation: planning, status, the start of commands, the report of a finished study."""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.execution import status
from harness.experiments.experiment import Experiment
from harness.store.runs import Store
from harness.system.environment import CHECKOUT

MANY = 1000
STARTS = 3
COMMANDS = {
    "ablate --help": ["harness.ablate", "--help"],
    "ablate table5 --dry-run": ["harness.ablate", "table5", "--dry-run"],
}


def measure(experiment: Experiment, runs: Path) -> Iterator[dict[str, Any]]:
    """A line for each, with the CPU time of its process if it has one of its own.

    The report is that of table5 at the experiment's scale, if the store in `runs` has it.
    """
    yield from _in_this_process(experiment)
    for name, words in COMMANDS.items():
        yield {"what": f"python -m harness.{name}", **_started(words)}
    with tempfile.TemporaryDirectory() as out:
        words = ["harness.report", "table5", "--scale", experiment.scale, "--runs", str(runs.absolute()), "--out", out]
        for title in ("report of a finished table5", "the same again"):
            with contextlib.suppress(subprocess.CalledProcessError):  # nothing finished there
                yield {"what": f"{title} at {experiment.scale}", **_started(words, 1)}


def _in_this_process(experiment: Experiment) -> Iterator[dict[str, Any]]:
    from harness.experiments.fields import with_fields
    from harness.planning.task import tasks

    began = time.perf_counter()
    rows = [with_fields(experiment, {"tokenizer.masking.max_ratio": k / MANY}) for k in range(MANY)]
    planned = tasks(rows)
    yield {"what": f"plan {MANY} rows, {len(planned)} stages", "seconds": time.perf_counter() - began}
    with tempfile.TemporaryDirectory() as folder:
        runs = [t.run_in(Store(Path(folder))) for t in planned[:MANY]]
        for run in runs:
            run.begin({}, {})
            run.curves.log(1, {"train/loss": 1.0})
            run.end("failed", "made up")
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status.summary(status.describe(dict.fromkeys(runs, "")))
        yield {"what": f"status of {MANY} runs", "seconds": time.perf_counter() - began}


def _started(words: list[str], times: int = STARTS) -> dict[str, float]:
    """The median seconds of a command, and the seconds that it computes."""
    import resource

    seconds, computing = [], []
    for _ in range(times):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", *words], cwd=CHECKOUT, capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        computing.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return {"seconds": statistics.median(seconds), "of CPU": statistics.median(computing)}
