"""An experiment's fields for few images and steps, and how stages run on them."""

from __future__ import annotations

from harness.execution.worker import Place, perform
from harness.experiments.experiment import Experiment
from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system.machine import Machine

CPU = Machine("cpu", "float32", 1)


FEW = {
    "data__train_images": 24,
    "data__val_images": 16,
    "training__steps": 5,
    "training__warmup_steps": 1,
    "generator__training__steps": 5,
    "generator__training__warmup_steps": 1,
    "evaluation__metrics_px": 32,
    "evaluation__kid_subset_images": 16,
    "evaluation__kid_subsets": 2,
    "guidance__on": False,
    "sampling__images": 20,
    "sampling__curve_images": 16,
    "sampling__steps": 2,
}


def run(store: Store, asked: Experiment, *stages: str) -> dict[str, str]:
    """The states of the stages and of all that they take."""
    place = Place(CPU, lambda: False, quiet=True)
    return {t.stage: perform(t, store, "", place) for t in tasks([asked], stages)}
