"""Several tasks in one job of a real Slurm: each has the fate and the result that it would have in a job of its own."""

from __future__ import annotations

import shutil
import time

import pytest

from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.execution.executors import slurm as slurm_executor
from harness.execution.jobs import submitted
from harness.planning.cluster import load
from harness.planning.task import tasks
from harness.store.runs import Run, Store
from tests import toy
from tests.conftest import experiment
from tests.execution.toy_slurm import SLOW, Toy, until
from tests.slurm import available

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(available()), reason=available())]

PAIRS = "[default]\ncpus = 2\nmemory_gib = 1\nhours = 0.1\ntogether = 2\n"


@pytest.fixture
def pairs(made: Toy) -> Toy:
    made.cluster.write_text(PAIRS)
    return made


def attempts(run: Run) -> list[tuple[float, float]]:
    """When every attempt began and ended."""
    return [(a["began"], a["began"] + a["seconds"]) for a in run.status()["attempts"]]


def test_jobs_run_pairs_side_by_side(pairs):
    process, (first, second) = pairs.start_slowly(3)
    runs = [pairs.training(seed) for seed in range(3)]
    assert [submitted(run).id for run in runs] == [first, first, second]
    assert list(pairs.jobs("toy_train").values()) == ["RUNNING"] * 2
    assert pairs.end(process) == (0, "")
    assert [len(pairs.jobs(stage)) for stage in toy.STAGES] == [1, 2, 2]
    assert set(pairs.jobs("toy_train").values()) == {"COMPLETED"}
    (began, ended), (other_began, other_ended) = (attempts(run)[0] for run in runs[:2])
    assert max(began, other_began) < min(ended, other_ended)
    assert toy.results(pairs.runs) == pairs.inline(3)


def test_what_fails_takes_its_own_row_with_it_and_can_be_tried_again(pairs):
    toy.behave(pairs.runs, 1, "fail")
    toy.behave(pairs.runs, 2, "exit")
    for seed in (4, 5):
        toy.behave(pairs.runs, seed, "fail")
    assert pairs.run(6)[0] == 1
    states = toy.states(pairs.runs)
    assert [states.pop(f"toy_train-{seed}") for seed in (1, 2, 4, 5)] == ["failed"] * 4
    assert states == dict.fromkeys(
        ["toy_source-0", *(f"toy_{s}-{k}" for s in ("train", "sum") for k in (0, 3))], "done"
    )
    assert sorted(pairs.jobs("toy_train").values()) == ["COMPLETED", "COMPLETED", "FAILED"]
    assert sorted(pairs.jobs("toy_sum").values()) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert pairs.training(1).status()["reason"] == "it was told to fail"
    assert pairs.training(2).status()["reason"] == "its process ended with code 3"
    logs = [path.read_text() for path in pairs.runs.glob("jobs/*/*_log.out")]
    assert sum("an input is not done" in log for log in logs) == 2
    for seed in (1, 2, 4, 5):
        toy.behave(pairs.runs, seed, "")
    assert pairs.run(6, "--retry", "failed") == (0, "")
    assert toy.results(pairs.runs) == pairs.inline(6)


def test_whatever_ends_a_job_its_tasks_go_on_from_there(pairs, slurm):
    toy.behave(pairs.runs, 0, "fail")
    for seed in (1, 2, 3):
        toy.behave(pairs.runs, seed, SLOW)
    process = pairs.start(4)
    until(lambda: all(pairs.underway(seed) for seed in range(4)) and pairs.training(0).state == "failed")
    for seed in range(4):
        toy.behave(pairs.runs, seed, "")
    warned, requeued = sorted(pairs.jobs("toy_train"))
    slurm.run("scancel", "--signal=USR2", warned)
    slurm.run("scancel", "--signal=TERM", requeued)
    until(lambda: all(pairs.training(seed).state == "stopped" for seed in (2, 3)))
    time.sleep(1.5)
    assert pairs.jobs()[requeued] == "RUNNING"  # it may be a preemption
    slurm.run("scontrol", "requeue", requeued)
    assert pairs.end(process)[0] == 1
    assert [pairs.outcomes(seed) for seed in range(4)] == [["failed"], *[["stopped", "done"]] * 3]
    assert pairs.run(4, "--retry", "failed") == (0, "")
    assert toy.results(pairs.runs) == pairs.inline(4)


def test_what_is_cancelled_goes_on_with_the_next_command(pairs, slurm):
    process, (job,) = pairs.start_slowly(2)
    slurm.run("scancel", submitted(pairs.training(1)).id)
    assert pairs.end(process)[0] == 1
    assert pairs.jobs("toy_train") == {job: "CANCELLED"}
    assert [pairs.outcomes(seed) for seed in range(2)] == [["stopped"]] * 2
    assert pairs.run(2) == (0, "")
    assert [pairs.outcomes(seed) for seed in range(2)] == [["stopped", "done"]] * 2
    assert toy.results(pairs.runs) == pairs.inline(2)


def test_a_job_that_reaches_its_time_limit_too_often_has_failed(pairs, slurm):
    pairs.cluster.write_text(f"{PAIRS}timeouts = 0\n")
    process, (job,) = pairs.start_slowly(2)
    slurm.run("scancel", "--signal=USR2", job)
    assert pairs.end(process)[0] == 1
    for seed in range(2):
        assert pairs.training(seed).state == "failed"
        assert "timed-out too many times" in pairs.training(seed).status()["reason"]


@pytest.mark.parametrize("together", [1, 2])
def test_an_input_that_is_gone_is_made_again(together, made):
    if together > 1:
        made.cluster.write_text(PAIRS)
    assert made.run(3) == (0, "")
    for file in made.runs.glob("toy_source/*/bytes.bin"):
        file.unlink()
    for stage in toy.STAGES[1:]:
        shutil.rmtree(made.runs / stage)
    assert made.run(3) == (0, "")
    assert toy.results(made.runs) == made.inline(3)
    outcomes = [made.outcomes(seed) for seed in range(3)]
    assert ["stopped", "done"] in outcomes
    assert all(ended in (["done"], ["stopped", "done"]) for ended in outcomes)  # some may see it before they begin


def test_results_are_those_of_a_process_with_as_many_threads(slurm, tmp_path, monkeypatch):
    rows = [experiment("kl_vae", training__steps=6, seed=seed) for seed in range(2)]
    planned = tasks(rows, ("tokenizer",))
    alone, shared = Store(tmp_path / "alone"), Store(tmp_path / "shared")
    inline.execute(Fixed(dict.fromkeys(planned, "")), alone, Options(quiet=True))
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "cluster.toml").write_text(PAIRS)
    options = Options(load(tmp_path / "cluster.toml"), quiet=True)
    slurm_executor.execute(Fixed(dict.fromkeys(planned, "")), shared, options)
    trainings = [t for t in planned if t.stage == "tokenizer"]
    assert len({submitted(t.run_in(shared)).id for t in trainings}) == 1
    for t in trainings:
        one, two = t.run_in(alone), t.run_in(shared)
        environments = [run.status()["attempts"][-1]["environment"] for run in (one, two)]
        assert environments[0]["threads"] == environments[1]["threads"] == 1
        assert one.file("metrics.csv").read_bytes() == two.file("metrics.csv").read_bytes()
        assert one.file("weights.safetensors").read_bytes() == two.file("weights.safetensors").read_bytes()
