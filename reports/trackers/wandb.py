"""Weights & Biases: one of its runs for each row and seed, in the group of their page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.system.errors import Mistake, Trouble
from reports.trackers.tracked import TrackedRun

# What it would record by itself is of this process, and not of the one that trained.
SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


def require() -> None:
    """Raises `Mistake` if the package is not installed."""
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise Mistake('Weights & Biases is not installed: pip install -e ".[wandb]"') from None


def write(runs: Sequence[TrackedRun], project: str) -> None:
    """Logs what a project does not have yet of `runs`. Raises `Trouble` if Weights & Biases refuses.

    With WANDB_MODE=offline nobody knows what the project has: the whole run is written to a new folder, and the folder
    of an earlier call is removed.
    """
    import wandb

    for run in runs:
        try:
            _write(run, project)
        except wandb.errors.Error as error:
            raise Trouble(f"Weights & Biases: {' '.join(str(error).split())}") from None


def _write(run: TrackedRun, project: str) -> None:
    import wandb

    with wandb.init(
        project=project,
        group=run.page,
        name=run.name,
        id=run.id,
        resume="allow",
        config={"page": run.page, "row": run.result.row.name, **run.fields},
        settings=wandb.Settings(**SETTINGS),
    ) as made:
        _log(run, made)
    if made.offline:
        folder = Path(made.dir).parent
        for other in folder.parent.glob(f"offline-run-*-{run.id}"):
            if other.name != folder.name:
                shutil.rmtree(other)


def _log(run: TrackedRun, made: Any) -> None:
    """Logs the points after the last one that the project has, and the state and all numbers anew."""
    for stage, points in run.curves.items():
        axis = f"{stage}/step"
        last = made.summary.get(axis, -1)
        made.define_metric(axis, hidden=True)
        made.define_metric(f"{stage}/*", step_metric=axis)
        for step, values in points:
            if step > last:
                made.log({axis: step, **values})
    for tag, r in run.numbers.items():
        made.summary[tag] = {"value": r.value, "n": r.n, "step": r.step, "protocol": r.protocol_id, "how": r.protocol}
    made.summary["state"] = run.result.state
