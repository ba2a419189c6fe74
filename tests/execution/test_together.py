"""Several stages at once in processes of this machine: the same results, and no stage is lost with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.execution import together
from harness.execution.demand import Options
from harness.experiments.scales import SCALES, scale, with_variant
from harness.planning.stage import Execution
from harness.planning.task import tasks
from harness.store.curves import CURVES
from harness.store.runs import Store
from harness.system import machine
from harness.system.files import read_json
from tests.conftest import experiment

ROWS = "KL-VAE,+ random mask"


def command(runs: Path, workers: int, threads: int, *more: str) -> subprocess.Popen[str]:
    words = ["table5", "--scale", "smoke", "--rows", ROWS, "--runs", str(runs), "--out", str(runs / "out"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "harness.ablate", *words, "--workers", str(workers)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(runs: Path) -> dict[str, object]:
    found = {}
    for path in sorted(runs.glob("*/*/result.json")):
        content = read_json(path)
        content["facts"].pop("step_seconds", None)
        found[str(path.relative_to(runs))] = content
    return found


@pytest.mark.slow
def test_results_are_those_of_one_process(tmp_path):
    for workers, threads in ((1, 1), (2, 2)):
        done = command(tmp_path / str(workers), workers, threads)
        out, errors = done.communicate(timeout=400)
        assert done.returncode == 0, errors
        assert "KL-VAE" in out
        if workers == 2:
            assert "stages to run, 2 at a time with 1 thread each" in errors
    alone, two = results(tmp_path / "1"), results(tmp_path / "2")
    assert alone == two
    assert len(alone) > 20


def working(process: subprocess.Popen[str], runs: Path) -> list[psutil.Process]:
    """The processes that run stages, once one of them trains."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        helpers = [p for p in psutil.Process(process.pid).children() if "harness.execution.together" in p.cmdline()]
        if len(helpers) == 2 and any(runs.glob(f"tokenizer/*/{CURVES}")):
            return helpers
        time.sleep(0.05)
    raise AssertionError("nothing trained")


@pytest.mark.slow
def test_a_killed_process_stops_its_stage_alone(tmp_path):
    first = command(tmp_path, 2, 2, "--set", "training.steps=4000")
    for helper in working(first, tmp_path):
        helper.kill()
    time.sleep(1)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=100)
    assert first.returncode == 130, errors
    assert "stopped: its process ended with code -9" in errors
    states = {run.state for run in Store(tmp_path).runs() if run.stage == "tokenizer"}
    assert states == {"stopped"}


def test_a_process_that_is_gone_before_it_begins_a_task_stops_it(tmp_path):
    store, task = Store(tmp_path), planned("smoke", ("kl_vae",))[0]
    with together.helping(store, 1, 0) as helper:
        helper.process.kill()
        helper.process.wait()
        helper.begin(task, "", Execution())
        assert together.settle(helper, store, "stopped") == task
    assert task.run_in(store).status()["state"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_goes_on(how, tmp_path):
    first = command(tmp_path, 2, 2)
    helpers = working(first, tmp_path)
    first.send_signal(how)
    first.communicate(timeout=100)
    assert first.returncode == (130 if how == signal.SIGINT else -how)
    _, alive = psutil.wait_procs(helpers, timeout=60)  # they save, and end with their command
    assert not alive
    again = command(tmp_path, 2, 2)
    _, errors = again.communicate(timeout=400)
    assert again.returncode == 0, errors
    assert {run.state for run in Store(tmp_path).runs()} == {"done"}


# How many


def planned(name: str, variants: tuple[str, ...]) -> list[together.Task]:
    return tasks([with_variant(scale(name).experiment, variant) for variant in variants])


def test_small_scales_share_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seven = (
        "kl_vae",
        "mactok",
        "autoencoder",
        "latent_masking",
        "image_masking",
        "local_alignment",
        "semantic_masking",
    )
    two = seven[:2]
    memory = psutil.virtual_memory().available / 2**30
    assert together.processes_for(planned("tiny", seven), Options()) == min(6, int(memory / together.GIB))
    assert together.processes_for(planned("tiny", two), Options()) == 2  # not more than there are experiments
    assert together.processes_for(planned("tiny", two[:1]), Options()) == 1
    assert together.processes_for(planned("tiny", two), Options(workers=1)) == 1
    for name in SCALES:
        assert together.processes_for(planned(name, two), Options()) == (2 if SCALES[name].small else 1)
        assert together.processes_for(planned(name, two), Options(workers=2)) == 2
    assert [name for name, scale in SCALES.items() if scale.small] == ["tiny", "gpu"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert together.processes_for(planned("tiny", seven), Options()) == 1


def test_a_sweep_has_room_for_as_many(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name in SCALES:
        one = planned(name, ("kl_vae",))
        assert together.room_for(one, Options()) == (2 if SCALES[name].small else 1)
        assert together.room_for(one, Options(workers=5)) == 5


def test_unknown_scales_run_one_after_another():
    assert together.processes_for(tasks([experiment("mactok", scale="toy"), experiment("kl_vae")]), Options()) == 1
