"""Steps that each depend on the one before, with checkpoints, curves, and whatever a test wants to go wrong."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from harness.experiments.experiment import Experiment
from harness.planning.stage import Outcome, Size, Stopped, Work
from harness.store.records import Record
from harness.system.errors import Trouble
from harness.system.files import read_json, replacing, write_json

revision = 1
about = "steps that depend on one another"
resumes = True
STEPS = 30


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("toy_source",)


def size(experiment: Experiment) -> Size:
    return Size(STEPS, 1000)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"seed": experiment.seed}


def run(work: Work) -> Outcome:
    source = work.inputs["toy_source"].file("bytes.bin").read_bytes()
    how, seconds = _behaviour(work)
    checkpoint = work.run.folder / "checkpoint.pt"
    step, state = 0, hashlib.sha256(source).hexdigest()
    try:
        saved = read_json(checkpoint)
        work.run.curves.rewind(saved["metrics"])
        step, state = saved["step"], saved["state"]
    except (FileNotFoundError, ValueError):
        work.run.curves.rewind()

    def save() -> None:
        write_json(checkpoint, {"step": step, "state": state, "metrics": work.run.curves.mark()})

    with work.progress(STEPS, "step", step) as bar:
        while step < STEPS:
            if work.processes.any(work.should_stop()):
                save()
                raise Stopped
            time.sleep(seconds)
            if step == STEPS // 2 and how:
                _go_wrong(how)
            state = hashlib.sha256(f"{state} {step} {work.experiment.seed}".encode()).hexdigest()
            step += 1
            work.run.curves.log(step, {"toy": int(state[:8], 16)})
            if step % 5 == 0:
                save()
            bar.update()
    with replacing(work.run.folder / "state.txt") as temporary:
        temporary.write_text(state * 100)
    return Outcome([Record("kl", int(state[:8], 16), 1, STEPS, "val", "toy")])


def _behaviour(work: Work) -> tuple[str, float]:
    path = work.run.folder.parent.parent / f"behaviour/toy_train-{work.experiment.seed}"
    word, _, number = (path.read_text() if path.exists() else "").partition(" ")
    return ("", float(number)) if word == "sleep" else (word, 0.0)


def _go_wrong(how: str) -> None:
    if how == "fail":
        raise Trouble("it was told to fail")
    if how == "bug":
        raise ZeroDivisionError("it was told to have a bug")
    if how == "exit":
        os._exit(3)
