"""Stores with the runs of requests, made without work."""

from __future__ import annotations

from pathlib import Path

from harness.experiments.fields import flat
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember
from harness.planning.task import Task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.files import read_json, write_json

ENVIRONMENT = {
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "world_size": 1,
    "scale": "smoke",
    "commit": "0123456789abcdef",
    "uncommitted": "",
    "versions": {"torch": "2.6.0", "numpy": "2.0.0"},
}
MACTOK, FOIL = ("mactok",), ("KL-VAE",)
SIZE = 3 * 2**20


def request_of(rows: tuple[str, ...] = MACTOK, **options: object) -> AblationRequest:
    return AblationRequest(
        "table5", plugins.load("ablations", "table5", "study").study, scale("smoke"), rows=rows, **options
    )


def make(task: Task, store: Store, records: list[Record] | None = None, **environment: object) -> Run:
    """A finished run without work."""
    run = task.run_in(store)
    run.begin(task.identity, ENVIRONMENT | environment)
    write_json(run.folder / "experiment.json", flat(task.experiment))
    (run.folder / "weights.bin").write_bytes(bytes(SIZE if task.stage == "tokenizer" else 10))
    run.finish(records or [], {"units": 1})
    return run


def filled(root: Path, *requests: AblationRequest, remembering: bool = True) -> Store:
    """A store with every run of the requests."""
    store = Store(root)
    for request in requests:
        for task in plan_of(request).tasks:
            make(task, store)
        if remembering:
            remember(request, store)
    return store


def states(store: Store) -> dict[str, str]:
    return {f"{run.stage}/{run.key}": run.state for run in store.runs()}


def keys(request: AblationRequest) -> set[str]:
    return {f"{task.stage}/{task.key}" for task in plan_of(request).tasks}


def change(path: Path, **content: object) -> None:
    write_json(path, {**read_json(path), **content})
