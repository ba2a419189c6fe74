"""Some bytes that all rows share."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.planning.stage import Outcome, Size, Work

revision = 1
about = "bytes that all rows share"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ()


def size(experiment: Experiment) -> Size:
    return Size(1, 1000)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"scale": experiment.scale}


def run(work: Work) -> Outcome:
    (work.run.folder / "bytes.bin").write_bytes(bytes(range(256)) * 64)
    return Outcome()
