"""A rehearsal of a study at full size: every stage once, two steps of every training, in a temporary store.

Networks, objectives and code are those of the scale. The images are embedded ones, drawn at its size. Weights that come
with no package are drawn at random and read from files, like real ones.
"""

from __future__ import annotations

import gc
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Fixed, Options
from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.requests import AblationRequest
from harness.networks.random_weights import written
from harness.planning.task import Task, tasks
from harness.store.runs import Run, Store
from harness.system import terminal
from harness.system.machine import forget_peak_memory, peak_memory_bytes
from harness.system.signals import stop_on_signal

BATCH = 4
STEPS = 2  # the first step includes one-time work: the faster step is timed
IMAGES = 16
GIB = 2**30
NOT_FINITE = "not finite"


def rehearsed(experiment: Experiment) -> Experiment:
    """`experiment` with as little work as possible, and all parts of the objective on from the first step."""
    least: dict[str, object] = {
        "data.name": "embedded",
        "data.argument": "",
        "data.crop": "center",
        "data.train_images": 2 * IMAGES,
        "data.val_images": BATCH,  # each is decoded once for every token
        "tokenizer.adversarial.start_step": 0,
        "finetuning.share": 1.0,
        "evaluation.kid_subset_images": IMAGES,
        "evaluation.kid_subsets": 1,
        "evaluation.probe_images": 2 * IMAGES,
        "guidance.search_images": IMAGES,
        "sampling.images": IMAGES,
        "sampling.curve_images": IMAGES,
        "sampling.steps": 2,
    }
    for training in ("training", "generator.training"):
        least |= {f"{training}.steps": STEPS, f"{training}.warmup_steps": 0, f"{training}.batch_images": BATCH}
    return with_fields(experiment, least)


def run(request: AblationRequest, quiet: bool) -> int:
    """Rehearses every row and prints time and memory of every stage; 0 if all are done and every loss is finite."""
    from harness.execution.worker import Place, perform
    from harness.system.machine import matrix_product_peak, this_machine

    experiments = {row.name: rehearsed(request.experiment(row)) for row in request.chosen_rows()}
    labels: dict[Task, str] = {}
    for name, experiment in experiments.items():
        for task in tasks([experiment], request.stages(experiment)):
            labels[task] = f"{labels[task]}, {name}" if task in labels else name
    machine = this_machine()
    peak = matrix_product_peak(machine, machine.dtype)
    lines = []
    with tempfile.TemporaryDirectory(prefix="one-step-") as folder:
        store = Store(Path(folder) / "runs")
        backlog = Backlog(Fixed(labels), store, Options())
        weights = written(list(experiments.values()), Path(folder) / "weights")
        with stop_on_signal() as should_stop, weights, StagesBar(backlog, 1, quiet) as bar:

            def stop() -> bool:
                bar.refresh()
                return should_stop()

            place = Place(machine, stop, quiet=quiet)
            for task in backlog.fresh():
                forget_peak_memory()
                began = time.perf_counter()
                bar.begin(task)
                state = perform(task, store, labels[task], place)
                bar.end(task)
                line = _line(task, task.run_in(store), time.perf_counter() - began, peak)
                if should_stop():
                    raise KeyboardInterrupt
                lines.append({"stage": task.stage, "rows": _shortened(labels[task]), "state": state, **line})
                gc.collect()
    print(
        f"\n{request.name} at {request.scale.experiment.scale} on {machine}, whose matrix products reach "
        f"{peak / 1e9:.0f} GFLOP/s.\n{STEPS} steps of {BATCH} images in every training, the faster one timed; random "
        f"weights, {2 * IMAGES} embedded images.\n"
    )
    print(terminal.table([list(map(_cell, line.values())) for line in lines], list(lines[0]), spare=("rows", "TFLOP")))
    return 0 if all(line["state"] == "done" and line["losses"] != NOT_FINITE for line in lines) else 1


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _shortened(label: str) -> str:
    names = label.split(", ")
    return label if len(names) <= 2 else f"{len(names)} rows"


def _line(task: Task, run: Run, seconds: float, peak: float) -> dict[str, Any]:
    """Time, memory and FLOPs of a stage. The utilisation is that of a step for a training, else of the whole stage."""
    size = task.module.size(task.experiment)
    facts = run.result()["facts"] if run.state == "done" else {}
    step = facts.get("step_seconds")
    flops = size.flops / STEPS if step else size.flops
    return {
        "s": seconds,
        "s/step": step,
        "peak GiB": peak_memory_bytes() / GIB,
        "TFLOP": flops / 1e12,
        "MFU %": 100 * flops / (step or seconds) / peak if flops else None,
        "losses": _losses(run),
    }


def _losses(run: Run) -> str:
    """The terms of the last step of a training, or `NOT_FINITE` if any logged value is not finite."""
    logged = list(run.curves.entries())
    if not all(math.isfinite(value) for _, _, value in logged):
        return NOT_FINITE
    last = {name: value for _, name, value in logged if name.startswith("train/")}
    return " ".join(f"{name.removeprefix('train/')} {value:.4g}" for name, value in last.items())
