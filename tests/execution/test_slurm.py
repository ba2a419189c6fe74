"""Jobs on a real Slurm: whatever happens to them, the same command ends in what an inline run makes."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.execution.executors import slurm as slurm_executor
from harness.execution.jobs import submitted
from harness.planning.cluster import load
from harness.planning.task import tasks
from harness.store.runs import Store
from harness.system.files import read_json
from tests import toy
from tests.conftest import experiment
from tests.execution.toy_slurm import SLOW, SMALL, TIMEOUT, drain, handles, until
from tests.slurm import available

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(available()), reason=available())]


def test_arrays_that_wait_task_by_task(made, slurm):
    drain(slurm, True)
    process = made.start(4)
    until(lambda: len(made.jobs()) == 9)
    (source,), (train, *_), (total, *_) = (sorted(made.jobs(stage)) for stage in toy.STAGES)
    train, total = train.removesuffix("_0"), total.removesuffix("_0")
    waiting = dict(line.split() for line in slurm.run("squeue", "-h", "-r", "-o", "%i %E").splitlines())
    own = f"afterok:{source}(unfulfilled)"
    assert waiting == {
        source: "(null)",
        **{f"{train}_{k}": own for k in range(4)},
        **{f"{total}_{k}": f"{own},aftercorr:{train}_*(unfulfilled)" for k in range(4)},
    }
    drain(slurm, False)
    assert made.end(process) == (0, "")
    assert toy.results(made.runs) == made.inline(4)


def test_what_fails_takes_its_own_row_with_it_and_can_be_tried_again(made):
    toy.behave(made.runs, 1, "fail")
    toy.behave(made.runs, 2, "exit")
    assert made.run(3)[0] == 1
    states = toy.states(made.runs)
    assert [states.pop(f"toy_train-{seed}") for seed in (1, 2)] == ["failed", "failed"]
    assert states == dict.fromkeys(["toy_source-0", "toy_train-0", "toy_sum-0"], "done")
    assert sorted(made.jobs("toy_sum").values()) == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert made.training(1).status()["reason"] == "it was told to fail"
    job = submitted(made.training(2))
    assert job.id == max(made.jobs("toy_train"))
    assert made.training(2).status()["reason"] == f"its slurm job {job.id} ended as FAILED; log: {job.log}"
    assert "toy_train" in Path(job.log).read_text()

    before = made.jobs()
    assert made.run(3)[0] == 1
    assert made.jobs() == before
    assert [toy.states(made.runs)[f"toy_train-{seed}"] for seed in (1, 2)] == ["failed", "failed"]

    for seed in (1, 2):
        toy.behave(made.runs, seed, "")
    assert made.run(3, "--retry", "failed") == (0, "")
    assert toy.results(made.runs) == made.inline(3)


def test_at_its_time_limit_a_job_saves_and_comes_back(made, slurm):
    # Slurm looks at limits every half minute, and the warning of this one is overdue.
    process, (job,) = made.start_slowly(how="sleep 1.5")
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    assert made.end(process) == (0, "")
    assert made.jobs("toy_train") == {job: "COMPLETED"}
    assert made.outcomes() == ["stopped", "done"]
    assert toy.results(made.runs) == made.inline(1)


def test_whatever_ends_a_job_it_goes_on_from_there(made, slurm):
    process, jobs = made.start_slowly(4)
    cancelled, requeued, preempted, warned = jobs
    slurm.run("scancel", cancelled)
    slurm.run("scancel", "--signal=TERM", requeued, preempted)
    slurm.run("scancel", "--signal=USR2", warned)
    until(lambda: all(made.training(seed).state == "stopped" for seed in (0, 1, 2)))
    time.sleep(1.5)
    # It may be a preemption, and who ends by itself does not come back from one.
    assert {made.jobs()[job] for job in (requeued, preempted)} == {"RUNNING"}
    slurm.run("scontrol", "requeue", requeued)
    slurm.run("scancel", "--signal=USR2", preempted)
    assert made.end(process)[0] == 1
    assert made.jobs("toy_train") == dict(zip(jobs, ["CANCELLED", *["COMPLETED"] * 3], strict=True))
    assert sorted(made.jobs("toy_sum").values()) == ["CANCELLED", *["COMPLETED"] * 3]
    status = made.training(0).status()
    assert (status["state"], status["reason"]) == ("stopped", "asked to stop")
    assert read_json(made.training(0).folder / "checkpoint.pt")["step"] > 0
    assert made.run(4) == (0, "")
    assert [made.outcomes(seed) for seed in range(4)] == [["stopped", "done"]] * 4
    assert toy.results(made.runs) == made.inline(4)


def test_a_job_that_reaches_its_time_limit_too_often_has_failed(made, slurm):
    made.cluster.write_text(f"{SMALL}timeouts = 0\n")
    process, (job,) = made.start_slowly()
    slurm.run("scancel", "--signal=USR2", job)
    assert made.end(process)[0] == 1
    assert made.training().state == "failed"
    assert "timed-out too many times" in made.training().status()["reason"]


def test_a_preempted_job_comes_back(made, slurm):
    process, (job,) = made.start_slowly()
    other = slurm.submit("sleep 1", "--partition=high", f"--ntasks={slurm.cpus}")
    slurm.wait_for(other, ("COMPLETED",), TIMEOUT)
    assert made.end(process) == (0, "")
    assert made.jobs("toy_train") == {job: "COMPLETED"}
    assert made.outcomes() == ["stopped", "done"]
    assert toy.results(made.runs) == made.inline(1)


def test_jobs_go_on_without_the_command_and_the_next_one_follows_them(made):
    made.cluster.write_text(f"{SMALL}at_once = 1\n")
    for seed in range(2):
        toy.behave(made.runs, seed, SLOW)
    process = made.start(2)
    until(lambda: made.underway() and len(made.jobs()) == 5)
    jobs = made.jobs().keys()
    process.kill()
    made.end(process)
    process = made.start(2)
    until(lambda: handles(process, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    code, errors = made.end(process)
    assert code == 130
    assert "the jobs go on without this command" in errors
    assert sorted(made.jobs("toy_train").values()) == ["PENDING", "RUNNING"]
    for seed in range(2):
        toy.behave(made.runs, seed, "")
    assert made.run(2) == (0, "")
    assert made.jobs().keys() == jobs
    assert [made.outcomes(seed) for seed in range(2)] == [["done"], ["done"]]
    assert toy.results(made.runs) == made.inline(2)


def test_two_commands_at_once_submit_every_stage_once(made):
    both = [made.start(2), made.start(2)]
    assert [made.end(process) for process in both] == [(0, ""), (0, "")]
    assert [len(made.jobs(stage)) for stage in toy.STAGES] == [1, 2, 2]
    assert toy.results(made.runs) == made.inline(2)


def test_a_job_runs_the_code_that_was_submitted(made, slurm, tmp_path):
    made.checkout = toy.checkout(tmp_path / "checkout")
    expected = made.inline(1)
    drain(slurm, True)
    process = made.start(1)
    until(lambda: len(made.jobs()) == 3)
    edited = made.checkout / "harness/stages/toy_train.py"
    text = edited.read_text()
    assert "{state} {step} " in text
    edited.write_text(text.replace("{state} {step} ", "{state} edited "))
    drain(slurm, False)
    assert made.end(process) == (0, "")
    assert toy.results(made.runs) == expected
    assert made.run(2) == (0, "")
    both = toy.results(made.runs)
    assert both.items() > expected.items()
    assert {name: both[name] for name in both.keys() - expected.keys()}.items() < made.inline(2).items()
    assert len(list((made.runs / "code").iterdir())) == 2


@pytest.mark.parametrize("name", ["it's", "x'; touch F; '", 'a "b" $(touch F) `touch F`', "a & b"])
def test_a_store_may_have_any_name_and_nothing_of_it_is_run(name, made):
    expected = made.inline(1)
    made.runs = made.place / name
    assert made.run(1) == (0, "")
    assert toy.results(made.runs) == expected
    assert not list(made.place.rglob("F"))
    assert not Path("F").exists()


@pytest.mark.parametrize("name", ["a\\b", "100%j"])
def test_a_name_that_slurm_would_read_otherwise_is_refused(name, made):
    made.runs = made.place / name
    code, errors = made.run(1)
    assert code == 2
    assert errors.count("\n") == 1
    assert "way of its own" in errors
    assert not made.jobs()


def test_what_slurm_refuses_is_one_clear_line(made):
    made.cluster.write_text(f'{SMALL}partition = "nowhere"\n')
    code, errors = made.run(2)
    assert code == 2
    assert errors.startswith("error: Slurm refuses the job of toy_source: ")
    assert "invalid partition" in errors
    assert errors.count("\n") == 1
    assert not made.jobs()
    assert not toy.states(made.runs)


@pytest.mark.parametrize("stage", toy.STAGES)
def test_what_slurm_refuses_of_any_stage_is_refused_before_the_first_is_submitted(stage, made):
    made.cluster.write_text(f'{SMALL}[{stage}]\npartition = "nowhere"\n')
    code, errors = made.run(2)
    assert code == 2
    assert errors.startswith(f"error: Slurm refuses the job of {stage}: ")
    assert not made.jobs()
    assert not made.runs.exists()


def test_jobs_that_slurm_does_not_take_any_more_are_told_and_those_before_stay(made):
    """As at a limit on jobs in the queue: sbatch takes two, and no third."""
    real, tools = shutil.which("sbatch", path=made.slurm.environment["PATH"]), made.place / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text(
        "#!/bin/sh\n"
        f'case "$1" in --test-only) exec {real} "$@" ;; esac\n'
        f"echo >> {tools}/count\n"
        f'[ $(wc -l < {tools}/count) -gt 2 ] && echo "QOSMaxSubmitJobPerUserLimit" >&2 && exit 1\n'
        f'exec {real} "$@"\n'
    )
    (tools / "sbatch").chmod(0o755)
    toy.behave(made.runs, 0, "sleep 0.1")
    before = made.slurm.environment["PATH"]
    made.slurm.environment["PATH"] = f"{tools}:{before}"
    try:
        code, errors = made.run(2)
    finally:
        made.slurm.environment["PATH"] = before
    assert code == 1
    assert errors.startswith("error: Slurm refuses the job of toy_sum: QOSMaxSubmitJobPerUserLimit")
    assert errors.count("\n") == 1
    assert len(made.jobs()) == 3
    assert made.run(2) == (0, "")
    assert [len(made.jobs(stage)) for stage in toy.STAGES] == [1, 2, 2]
    assert toy.results(made.runs) == made.inline(2)


def test_two_processes_share_a_training(slurm, tmp_path, monkeypatch):
    planned = tasks([experiment("kl_vae", training__steps=6)], ("tokenizer",))
    alone, shared = Store(tmp_path / "alone"), Store(tmp_path / "shared")
    inline.execute(Fixed(dict.fromkeys(planned, "")), alone, Options(quiet=True))
    shutil.copytree(alone.root / "data", shared.root / "data")
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "cluster.toml").write_text(f"{SMALL}[tokenizer]\nprocesses = 2\n")
    options = Options(load(tmp_path / "cluster.toml"), quiet=True)
    slurm_executor.execute(Fixed(dict.fromkeys(planned, "")), shared, options)
    runs = [planned[-1].run_in(store) for store in (alone, shared)]
    assert [run.state for run in runs] == ["done", "done"], runs[1].status()
    assert [run.status()["attempts"][-1]["environment"]["world_size"] for run in runs] == [1, 2]
    one, two = (pd.read_csv(run.file("metrics.csv")) for run in runs)
    assert list(one.metric) == list(two.metric)
    compared = one.metric.isin(["train/loss", "val/error", "val/kl"])
    np.testing.assert_allclose(two.value[compared], one.value[compared], rtol=0.02)  # perhaps in bfloat16
