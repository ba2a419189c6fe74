"""A number whose optimum is known, approached step by step as a training would."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from harness.experiments.experiment import Experiment
from harness.planning.stage import Diverged, Outcome, Size, Stopped, Work
from harness.store.records import Record
from harness.system.errors import Trouble
from harness.system.files import read_json, write_json

revision = 1
about = "a bowl over mask ratio and semantic share, least at 0.3 and 0.6; of KL at 0.8 and 0.6"
resumes = True
STEPS = 40  # as at `smoke`: pruners count in steps


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("toy_source",)


def size(experiment: Experiment) -> Size:
    return Size(STEPS, 1000)


def config(experiment: Experiment) -> dict[str, Any]:
    masking = experiment.tokenizer.masking
    return {"x": masking.max_ratio, "y": masking.semantic_share, "masked": masking.on, "seed": experiment.seed}


def height(experiment: Experiment, least: float) -> float:
    """What is looked for: least, 0.02 above zero for every seed after the first, at (`least`, 0.6)."""
    masking = experiment.tokenizer.masking
    return (masking.max_ratio - least) ** 2 + (masking.semantic_share - 0.6) ** 2 + 0.02 * experiment.seed


def run(work: Work) -> Outcome:
    """RUNS/behaviour/toy_bowl may say `sleep SECONDS`, a step; or, of M above 0.5, `fail`, `diverge`, `exit`, `nan`."""
    path = work.run.folder.parent.parent / "behaviour/toy_bowl"
    word, _, number = (path.read_text() if path.exists() else "").partition(" ")
    checkpoint, step = work.run.folder / "checkpoint.pt", 0
    rfd, kl = (height(work.experiment, least) for least in (0.3, 0.8))
    far = work.experiment.tokenizer.masking.max_ratio > 0.5
    try:
        saved = read_json(checkpoint)
        work.run.curves.rewind(saved["metrics"])
        step = saved["step"]
    except (FileNotFoundError, ValueError):
        work.run.curves.rewind()
    with work.progress(STEPS, "step", step) as bar:
        while step < STEPS:
            if work.should_stop():
                write_json(checkpoint, {"step": step, "metrics": work.run.curves.mark()})
                raise Stopped
            time.sleep(float(number) if word == "sleep" else 0.0)
            if step == STEPS // 2 and far:
                if word == "fail":
                    raise Trouble("it was told to fail")
                if word == "diverge":
                    raise Diverged("it was told to diverge")
                if word == "exit":
                    os._exit(3)
            step += 1
            work.run.curves.log(step, {"toy": rfd + 1 / step})
            bar.update()
    found = {"rfd": math.nan if word == "nan" and far else rfd, "kl": kl}
    return Outcome([Record(metric, value, 100, STEPS, "val", "toy") for metric, value in found.items()])
