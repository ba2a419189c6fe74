"""Sweeps through a real Slurm: the driver may die, jobs go on, and what is given up is cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from harness.search.storage import storage_at
from harness.store.runs import Run
from tests import toy
from tests.slurm import Slurm, available

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(available()), reason=available())]

SMALL = "[default]\ncpus = 1\nmemory_gib = 1\nhours = 0.1\n"
PLACES = 9  # of the toy's grid
TIMEOUT = 150


def start(slurm: Slurm, place: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    place.mkdir(exist_ok=True)
    (place / "cluster.toml").write_text(SMALL)
    command = [sys.executable, "-m", "harness.sweep", *words, "--scale", "smoke", "--quiet", "--executor", "slurm"]
    folders = ["--runs", str(place / "runs"), "--out", str(place / "out"), "--cluster", str(place / "cluster.toml")]
    return subprocess.Popen(
        [*command, *folders],
        env=environment | slurm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out + errors
    return out


def trials(place: Path, page: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=storage_at(str(place / f"runs/sweeps/{page}.journal")), study_name=page).trials


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_a_driver_that_is_killed_leaves_jobs_that_the_next_one_follows(slurm, checkout, tmp_path):
    environment = toy.environment(checkout)
    (tmp_path / "runs/behaviour").mkdir(parents=True)
    (tmp_path / "runs/behaviour/toy_bowl").write_text("sleep 0.05")
    first = start(slurm, tmp_path, environment, "bowl")
    until(lambda: len(list((tmp_path / "runs/toy_bowl").glob("*/metrics.csv"))) > 1)
    first.kill()
    first.communicate()
    submitted = set(slurm.squeue())
    end(start(slurm, tmp_path, environment, "bowl"))
    done = trials(tmp_path, "bowl-smoke-rfd")
    assert [t.state.name for t in done] == ["COMPLETE"] * PLACES
    assert len({tuple(t.params.items()) for t in done}) == PLACES
    assert set(slurm.squeue()) <= submitted  # no job twice
    runs = [Run(path.parent) for path in (tmp_path / "runs/toy_bowl").glob("*/config.json")]
    assert [len(run.status()["attempts"]) for run in runs] == [1] * PLACES


def test_what_is_given_up_is_cancelled(slurm, checkout, tmp_path):
    environment = toy.environment(checkout)
    (tmp_path / "runs/behaviour").mkdir(parents=True)
    (tmp_path / "runs/behaviour/toy_bowl").write_text("sleep 0.1")
    words = ["--sampler", "tpe", "--trials", "8", "--pruner", "median", "--workers", "2"]
    out = end(start(slurm, tmp_path, environment, "bowl", *words))
    states = [t.state.name for t in trials(tmp_path, "bowl-smoke-rfd")]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert len(states) == 8
    assert "given up early" in out
    runs = [Run(path.parent) for path in (tmp_path / "runs/toy_bowl").glob("*/config.json")]
    assert sorted(run.state for run in runs) == ["done"] * states.count("COMPLETE") + ["stopped"] * states.count(
        "PRUNED"
    )


def test_a_sweep_at_smoke_trains_on_the_cluster(slurm, tmp_path):
    out = end(start(slurm, tmp_path, dict(os.environ), "mask_ratio", "--objective", "kl"))
    done = trials(tmp_path, "mask_ratio-smoke-kl")
    assert [t.state.name for t in done] == ["COMPLETE"] * 6
    assert len({t.value for t in done}) == 6
    assert "M = " in out
    assert (tmp_path / "out/mask_ratio-smoke-kl/objective.png").exists()
    runs = [Run(path.parent) for path in (tmp_path / "runs/tokenizer").glob("*/config.json")]
    assert [run.state for run in runs] == ["done"] * 6
