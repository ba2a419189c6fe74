"""What several tests share: experiments at `smoke`, and a store in which one row is finished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment import Experiment, with_fields, with_variant
from harness.scales import scale

ROW = ["table5", "--scale", "smoke", "--rows", "mactok", "--quiet"]
# A checkpoint after every step, so that a killed training has something to go on from.
COMMAND = (
    "import sys, harness.training as training, harness.ablate as ablate, harness.cli as cli;"
    "training.CHECKPOINT_SECONDS = 0; cli.run(ablate.main)"
)


def start(runs: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *ROW, "--runs", str(runs), "--out", str(runs / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def experiment(variant: str = "mactok", **fields: object) -> Experiment:
    """A smoke experiment of a variant; fields with `__` for the dot."""
    set_fields = {path.replace("__", "."): value for path, value in fields.items()}
    return with_fields(with_variant(scale("smoke").experiment, variant), set_fields)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the row `mactok` of table5 at `smoke`, never interrupted. Tests copy it, never change it."""
    store = tmp_path_factory.mktemp("runs")
    process = start(store)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, out + errors
    return store
