"""A checkout with small stages without torch in place of the real work: `toy_source` -> `toy_train` -> `toy_sum`, and
`toy_source` -> `toy_bowl`, which a sweep called `bowl` looks for the least of.

What a test writes to `RUNS/behaviour/toy_train-SEED` that training does: `fail`, `bug`, `exit`, or `sleep SECONDS` at
each step.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from harness.execution.code_copy import PACKAGES
from harness.store.runs import Run
from harness.system.files import read_json

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
STAGES = ("toy_source", "toy_train", "toy_sum")
COMMAND = [sys.executable, "-m", "toy"]


def checkout(place: Path) -> Path:
    """A copy of this project at `place` with the toy stages, a command `python -m toy`, and a machine without torch."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__", "examples", "out")
        )
    for stage in (HERE / "stages").glob("*.py"):
        shutil.copy(stage, place / "harness/stages")
    shutil.copy(HERE / "command.py", place / "toy.py")
    shutil.copy(HERE / "bowl.py", place / "ablations/bowl.py")
    shutil.copy(HERE / "sitecustomize.py", place)
    return place


def environment(place: Path) -> dict[str, str]:
    """What runs `COMMAND` from the checkout at `place`."""
    return {**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}


def behave(runs: Path, seed: int, how: str) -> None:
    """Tells the training of a seed what to do; "" for nothing special."""
    (runs / "behaviour").mkdir(parents=True, exist_ok=True)
    (runs / f"behaviour/toy_train-{seed}").write_text(how)


def states(runs: Path) -> dict[str, str]:
    """The state of every run, by stage and seed."""
    found = {}
    for path in sorted(runs.glob("toy_*/*/config.json")):
        run = Run(path.parent)
        seed = read_json(path.parent / "experiment.json")["seed"]
        found[f"{run.stage}-{seed}"] = run.state
    return found


def results(runs: Path) -> dict[str, object]:
    """All that should not depend on how the stages were run: results and curves, without times."""
    found: dict[str, object] = {}
    for path in sorted(runs.glob("toy_*/*/result.json")):
        run = Run(path.parent)
        if run.state == "done":
            name = f"{run.stage} {run.key}"
            found[name] = json.dumps(run.result(), sort_keys=True)
            run.checked_folder()
            if (run.folder / "metrics.csv").exists():
                found[f"{name} curves"] = (run.folder / "metrics.csv").read_text()
    return found
