"""Anything can be killed at any moment: the same command then ends in the same result, to the last digit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.networks import frozen
from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system import plugins
from harness.system.files import read_json
from tests.conftest import COMMAND, ROW, experiment, start


def results(runs: Path) -> dict[str, object]:
    """The numbers of every stage, and the curves, which hold no times."""
    store, found = Store(runs), {}
    for t in tasks([experiment("mactok")]):
        run = t.run_in(store)
        assert run.state == "done", run.stage
        found[t.stage] = run.result()["records"]
        if (run.folder / "metrics.csv").exists():
            found[f"{t.stage} curves"] = (run.folder / "metrics.csv").read_text()
    return found


@pytest.fixture(scope="module")
def uninterrupted(runs: Path) -> dict[str, object]:
    return results(runs)


STAGES = [t.stage for t in tasks([experiment("mactok")])]
TRAINING = ("tokenizer", "finetuning", "generator")
# The row does not run them; they write nothing before their results.
NOT_OF_ROWS = ("diagnosis", "transfer", "plugin_metrics", "plugin_generation")


def test_the_stages_are_all_killed():
    assert sorted((*STAGES, *NOT_OF_ROWS)) == plugins.names("harness.stages")


def test_killed_in_every_kind_of_stage(uninterrupted, tmp_path):
    keys = {t.stage: t.key for t in tasks([experiment("mactok")])}
    killed = []
    for stage in STAGES:
        process = start(tmp_path)
        folder = tmp_path / stage / keys[stage]
        began = time.monotonic()
        while process.poll() is None and not _underway(folder, stage):
            assert time.monotonic() - began < 100
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed.append(_state(folder))
    # A stage may be over before the kill comes; that most kills hit their stage is what makes this a test.
    assert killed.count("running") >= len(STAGES) - 3, killed
    assert all(killed[STAGES.index(stage)] == "running" for stage in TRAINING)
    process = start(tmp_path)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert results(tmp_path) == uninterrupted


def _underway(folder: Path, stage: str) -> bool:
    """A training is underway some steps in, any other stage as soon as it has begun."""
    if stage in TRAINING:
        return (folder / "checkpoint.pt").exists() and (folder / "metrics.csv").read_text().count("train/loss") > 0
    return _state(folder) == "running"


def _state(folder: Path) -> str:
    try:
        return read_json(folder / "status.json")["state"]
    except (FileNotFoundError, ValueError):
        return ""


def test_asked_to_stop_it_saves_and_goes_on(uninterrupted, runs, tmp_path):
    _copy(runs, tmp_path, without=("tokenizer", "snapshots", "finetuning", "evaluation"))
    folder = tmp_path / "tokenizer" / {t.stage: t.key for t in tasks([experiment("mactok")])}["tokenizer"]
    process = start(tmp_path)
    while not _underway(folder, "tokenizer"):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert _state(folder) == "stopped"
    process = start(tmp_path)
    process.communicate(timeout=200)
    assert results(tmp_path) == uninterrupted
    assert len(read_json(folder / "status.json")["attempts"]) == 2


def test_what_ran_before_in_the_process_changes_nothing(runs, tmp_path):
    """The first training of a process builds the perceptual network, later ones find it: the same weights must come."""
    weights = []
    frozen.efficientnet_lite.cache_clear()
    for store in (tmp_path / "first", tmp_path / "second"):
        _copy(runs, store, without=("tokenizer", "snapshots", "finetuning", "evaluation"))
        short = experiment("kl_vae", training__steps=5)
        planned = tasks([short], ("tokenizer",))
        inline.execute(Fixed(dict.fromkeys(planned, "")), Store(store), Options(quiet=True))
        weights.append(next(store.glob("tokenizer/*/weights.safetensors")).read_bytes())
    assert weights[0] == weights[1]


def test_the_same_command_again_trains_nothing(uninterrupted, runs):
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/*/status.json")}
    process = start(runs)
    process.communicate(timeout=200)
    assert process.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*/*/status.json")} == before


@pytest.mark.parametrize("file", ["tokenizer/weights.safetensors", "data/train_images.npy", "tokenizer/result.json"])
def test_a_damaged_file_is_told_and_made_again_by_the_same_command(file, uninterrupted, runs, tmp_path):
    _copy(runs, tmp_path, without=("finetuning", "evaluation"))
    stage, name = file.split("/")
    path = next((tmp_path / stage).glob(f"*/{name}"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    process = start(tmp_path)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    # A damaged result is noticed when planning.
    assert (f"{name} is damaged: it is made again" in errors) == (name != "result.json")
    assert results(tmp_path) == uninterrupted


def test_results_outlive_deleted_weights(uninterrupted, runs, tmp_path):
    _copy(runs, tmp_path, without=())
    for path in [*tmp_path.glob("*/*/*.safetensors"), *tmp_path.glob("*/*/snapshots/*"), *tmp_path.glob("*/*/p.npy")]:
        path.unlink()
    process = start(tmp_path)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert results(tmp_path) == uninterrupted


def test_a_loss_that_is_not_finite_stops_its_row_alone(runs, tmp_path):
    _copy(runs, tmp_path, without=("tokenizer", "snapshots", "finetuning", "evaluation"))
    words = ["table5", "--scale", "smoke", "--rows", "autoencoder,kl_vae", "--quiet", "--runs", str(tmp_path)]
    words += ["--set", "gaussian.kl_weight=1e38", "--set", "training.steps=8", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "harness.ablate", *words], capture_output=True, text=True, check=False)
    page = next((tmp_path / "out").glob("*-*.md")).read_text()
    assert "diverged: the loss or its gradient is not finite at step" in page
    states = {run["state"] for run in (read_json(p) for p in tmp_path.glob("evaluation/*/status.json"))}
    assert states == {"done"}
    assert done.returncode == 1
    assert "KL-VAE: diverged, the loss or its gradient is not finite" in done.stderr


def test_a_full_disk_is_one_clear_line(runs, tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the same way."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); {COMMAND}"
    )
    words = [*ROW, "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "stopped: File too large: " in done.stderr and ", on the disk at /" in done.stderr
    process = start(tmp_path)
    process.communicate(timeout=200)
    assert process.returncode == 0


def _copy(runs: Path, to: Path, without: tuple[str, ...]) -> None:
    """The finished stages of the shared store but these; hard links would let one test damage another's files."""
    for folder in runs.iterdir():
        if folder.is_dir() and folder.name not in (*without, "out"):
            shutil.copytree(folder, to / folder.name)


def test_every_record_says_how_it_was_measured(uninterrupted):
    records = [r for name, found in uninterrupted.items() if "curves" not in name for r in found]
    assert records
    for r in records:
        assert r["n"] > 0
        assert r["protocol"]
        assert json.dumps(r)
    of_codes = {"code_use", "code_perplexity"}
    assert {r["metric"] for r in records} >= set(plugins.names("harness.evaluation.metrics")) - of_codes


def test_environment_is_recorded_and_not_hashed(uninterrupted, runs):
    for path in runs.glob("*/*/status.json"):
        environment = read_json(path)["attempts"][-1]["environment"]
        for name in ("device", "dtype", "threads", "world_size", "commit", "uncommitted", "versions"):
            assert name in environment
            assert name not in read_json(path.with_name("config.json"))
    assert os.listdir(runs)
