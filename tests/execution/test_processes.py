"""Several processes, and several parts of a batch in one: the same results, by rounding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system.randomness import Draws, Part
from tests.row import ROW, STAGES

pytestmark = pytest.mark.slow

RUNS = {task.stage: task for task in tasks([ROW], STAGES)}
TRAINED = ("tokenizer", "finetuning", "generator")
# What is computed before anything is trained does not depend on a sum over processes.
SAME = ("data", "teacher_features", "reference")
TOLERANCE = 1e-4  # relative, of curves after six steps in float32


def run(runs: Path, processes: int = 1, accumulate: int = 1, stop_at: int = 0) -> list[str]:
    """What the processes say, all of them fine."""
    outputs, codes = start(runs, processes, accumulate, stop_at)
    assert not any(codes), outputs
    return outputs[0][0].split()


def start(runs: Path, processes: int, accumulate: int = 1, stop_at: int = 0) -> tuple[list[tuple[str, str]], list[int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = [sys.executable, "-m", "tests.row", str(runs), str(accumulate), str(stop_at)]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            words,
            env={**environment, "WORLD_SIZE": str(processes), "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=200) for process in started]
    return outputs, [process.returncode for process in started]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("alone")
    run(runs)
    return runs


def curve(runs: Path, stage: str) -> pd.DataFrame:
    made = RUNS[stage].run_in(Store(runs))
    assert made.state == "done", stage
    return pd.read_csv(made.file("metrics.csv"))


def assert_close(runs: Path, alone: Path) -> None:
    for stage in TRAINED:
        here, there = curve(runs, stage), curve(alone, stage)
        assert list(here.metric) == list(there.metric)
        np.testing.assert_allclose(here.value, there.value, rtol=TOLERANCE, atol=1e-4, err_msg=stage)
    for stage in SAME:
        here, there = (RUNS[stage].run_in(Store(place)).result() for place in (runs, alone))
        assert here["records"] == there["records"]
        assert here["files"] == there["files"]
    for stage in ("samples", "guided_samples"):
        here, there = (np.load(RUNS[stage].run_in(Store(place)).file("samples.npy")) for place in (runs, alone))
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3, err_msg=stage)
    for stage in RUNS:
        assert RUNS[stage].run_in(Store(runs)).state == "done"


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 4), (2, 1), (2, 2), (4, 1)])
def test_the_parts_of_a_batch_may_fall_anywhere(processes, accumulate, alone, tmp_path):
    run(tmp_path, processes, accumulate)
    assert_close(tmp_path, alone)
    environment = RUNS["tokenizer"].run_in(Store(tmp_path)).status()["attempts"][-1]["environment"]
    assert environment["world_size"] == processes
    assert environment["micro_batch_images"] == ROW.training.batch_images // (processes * accumulate)


def test_a_stopped_training_goes_on_in_another_number_of_processes(alone, tmp_path):
    assert run(tmp_path, 2, stop_at=3) == ["tokenizer", "stopped"]
    assert (RUNS["tokenizer"].run_in(Store(tmp_path)).folder / "checkpoint.pt").exists()
    run(tmp_path, 4)
    assert_close(tmp_path, alone)
    worlds = [a["environment"]["world_size"] for a in RUNS["tokenizer"].run_in(Store(tmp_path)).status()["attempts"]]
    assert worlds == [2, 4]


def test_a_batch_that_does_not_split_evenly_is_refused_with_a_reason(tmp_path):
    _, codes = start(tmp_path, 3)
    assert all(codes)  # and none is left waiting for another
    status = RUNS["tokenizer"].run_in(Store(tmp_path)).status()
    assert status["state"] == "failed"
    assert "16 of the 16 images of a batch do not split evenly over 3 processes" in status["reason"]


def test_the_share_that_a_term_looks_at_has_to_split_too(tmp_path):
    start(tmp_path, 1, accumulate=8)  # a quarter of 16 images cannot be parted into 8
    reason = RUNS["tokenizer"].run_in(Store(tmp_path)).status()["reason"]
    assert "4 of the 16 images" in reason


@pytest.mark.parametrize("of", [1, 2, 4])
def test_parts_make_the_whole_batch(of):
    whole = Draws(0, "tokenizer", 3)
    parts = [Draws(0, "tokenizer", 3, part=Part(index, of)) for index in range(of)]
    for law in ("uniform", "normal"):
        together = torch.stack([getattr(part, law)("x", 8 // of, 5) for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(together, getattr(whole, law)("x", 8, 5))
        assert all(torch.equal(getattr(part, law)("x"), getattr(whole, law)("x")) for part in parts)


def test_a_part_has_its_share_of_the_first_images():
    """Terms that look at the first images of a batch look at the same ones in parts."""
    first = torch.arange(16)[:4]
    assert sorted(torch.cat([Part(index, 2)(torch.arange(16))[:2] for index in range(2)]).tolist()) == first.tolist()
