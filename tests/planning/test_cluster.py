"""The cluster file, and the arrays that tasks fall into: all of Slurm that needs none on the machine."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import cli
from harness.execution import jobs
from harness.execution.executors import slurm
from harness.execution.jobs import SubmittedJob
from harness.planning.cluster import Cluster, Resources, load
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake
from tests.commands.test_cli import command
from tests.conftest import experiment

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "harness/planning/clusters").glob("*.toml"))
SMOKE = ["harness.ablate", "table5", "--scale", "smoke", "--executor", "slurm"]
# Of `man squeue`: all that a job does not come back from.
ENDED = ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"]
ENDED += ["REVOKED", "TIMEOUT"]
MISTAKES = {
    "table": ("[tokeniser]\ncpus = 1", "unknown table in cluster.toml: 'tokeniser'. Did you mean 'tokenizer'?"),
    "inner table": ("[smoke.tokeniser]\ncpus = 1", "Did you mean 'tokenizer'?"),
    "table in a stage": ("[tokenizer.smoke]\ncpus = 1", "[tokenizer.smoke]"),
    "no table": ("default = 3", "default should be a table"),
    "field": ("[default]\ncores = 4", "no 'cores'"),
    "field of a stage at a scale": ("[smoke.tokenizer]\ncores = 4", "no 'cores'"),
    "range": ("[default]\nhours = 0.05", "leaves less than two minutes"),
    "type": ('[tokenizer]\ncpus = "many"', "cpus"),
    "truth for a number": ("[default]\ncpus = true", "cpus"),
    "text for a number": ('[default]\ncpus = "2"', "cpus"),
    "a million CPUs": ("[default]\ncpus = 1000000", "cpus"),
    "all of time": ("[default]\nhours = 1e300", "hours"),
    "together with processes": ("[tokenizer]\nprocesses = 4\ntogether = 2", "one process each"),
    "together on fewer cores": ("[default]\ntogether = 4", "need as many cpus"),
    "memory": ("[default]\nmemory_gib = 99999999999", "memory_gib"),
    **{
        f"{field}: {text!r}": (f"[default]\n{field} = {text}", field)
        for field in ("partition", "account", "qos", "constraint")
        for text in ('"a\\nb"', '"a\\n"', '"it\'s"', "'a\"b'", '"$(touch F)"', '"a; touch F"', '"`id`"', "7")
    },
    "form": ("[default\ncpus = 1", "cluster.toml is not a cluster file"),
    "no text": (b"\xff\xfe", "cluster.toml is not a cluster file"),
    "no file": (None, "the cluster file cluster.toml does not exist"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_cluster_file_is_one_clear_line(case, tmp_path):
    content, expected = MISTAKES[case]
    if content is not None:
        (tmp_path / "cluster.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = command(*SMOKE, "--cluster", "cluster.toml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cluster.toml"] * (content is not None)


def test_without_a_slurm_it_is_one_clear_line(tmp_path):
    done = command(*SMOKE, cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: no Slurm here: sbatch is not on PATH")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


FATAL = {  # what sbatch says before it ends, and what of it is told
    slurm.NOWHERE: f"no Slurm here: sbatch finds no configuration; {slurm.INSTEAD}",
    "no memory": "Slurm refuses the job of data: sbatch: error: lookup sbatch: fatal: no memory",
}


@pytest.mark.parametrize("words", FATAL)
@pytest.mark.parametrize("name", ["ablate", "sweep", "everything"])
def test_nothing_is_left_where_slurm_takes_no_job(name, words, tmp_path, monkeypatch, capsys):
    sbatch = tmp_path / "tools/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\necho 'sbatch: error: lookup\nsbatch: fatal: {words}' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    study = {"ablate": ["table5"], "sweep": ["mask_ratio"], "everything": []}[name]
    main = importlib.import_module(f"harness.{name}").main
    assert cli.code_of(main, [*study, "--scale", "smoke", "--executor", "slurm", "--quiet"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {FATAL[words]}"
    assert not any(Path().iterdir())


def test_a_later_table_overrides_an_earlier_one(tmp_path, monkeypatch):
    tables = ["[default]", "cpus = 3", "hours = 1", "[tokenizer]", "cpus = 4", "processes = 2", "[smoke]", "cpus = 5"]
    tables += ["[smoke.tokenizer]", 'partition = "fast"', "cpus = 6"]
    (tmp_path / "cluster.toml").write_text("\n".join(tables))
    monkeypatch.chdir(tmp_path)
    for found in (load(Path("cluster.toml")), load(None)):
        assert found.resources("data", "tiny") == Resources(cpus=3, hours=1)
        assert found.resources("tokenizer", "tiny") == Resources(cpus=4, hours=1, processes=2)
        assert found.resources("data", "smoke") == Resources(cpus=5, hours=1)
        assert found.resources("tokenizer", "smoke") == Resources(cpus=6, hours=1, processes=2, partition="fast")
    Path("cluster.toml").unlink()
    assert load(None) == Cluster()
    with pytest.raises(Mistake, match="does not exist"):
        load(Path("cluster.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_cluster_files(path):
    assert load(path).resources("tokenizer", "smoke") != Resources()


def made(stage: str, rows: int, *columns: list[Task]) -> list[Task]:
    """Tasks of a stage, each with its own of every column of inputs."""
    needed = [{column[k].stage: column[k] for column in columns} for k in range(rows)]
    return [Task(stage, f"{stage}{k}", {}, experiment(), inputs) for k, inputs in enumerate(needed)]


def submitted(tasks: list[Task], ids: dict[Task, str], together: int = 1) -> list[tuple[list[str], str]]:
    """The jobs and the dependency of every array; numbered from 1 on as Slurm would, and noted in `ids`."""
    found = []
    for level in slurm._levels(tasks):
        for array, dependency in slurm._arrays(level, ids, together):
            number = 1 + max((int(job.partition("_")[0]) for job in ids.values()), default=0)
            found.append((["+".join(t.key for t in group) for group in array], dependency))
            numbers = [f"{number}_{k}" if len(array) > 1 else str(number) for k in range(len(array))]
            ids |= {t: job for job, group in zip(numbers, array, strict=True) for t in group}
    return found


def test_corresponding_arrays_wait_task_by_task_and_one_job_is_waited_for_as_a_whole():
    (source,) = made("source", 1)
    train = made("train", 3, [source] * 3)
    total = made("total", 3, [source] * 3, train)
    # Row by row, as they are planned.
    planned = [source, *(t for row in zip(train, total, strict=True) for t in row)]
    assert submitted(planned, {}) == [
        (["source0"], ""),
        (["train0", "train1", "train2"], "afterok:1"),
        (["total0", "total1", "total2"], "afterok:1,aftercorr:2"),
    ]


def test_what_is_made_already_is_not_waited_for():
    (source,) = made("source", 1)
    train = made("train", 2, [source] * 2)
    assert submitted(train, {}) == [(["train0", "train1"], "")]


def test_the_first_tasks_of_an_array_correspond_and_others_wait_alone():
    train = made("train", 4)
    total = made("total", 4, train)
    ids = {t: f"7_{k}" for k, t in enumerate(train)}
    assert submitted(total[:2], dict(ids)) == [(["total0", "total1"], "aftercorr:7")]
    assert submitted(total[1::2], dict(ids)) == [(["total1"], "afterok:7_1"), (["total3"], "afterok:7_3")]
    assert submitted(total[3:], dict(ids)) == [(["total3"], "afterok:7_3")]
    assert submitted(total[::-1], dict(ids)) == [([f"total{k}"], f"afterok:7_{k}") for k in (3, 2, 1, 0)]


def test_tasks_that_wait_for_different_jobs_are_different_arrays():
    """Two inputs, of two arrays and of jobs alone; one row whose inputs are there, one whose first one is."""
    left, right = made("left", 4), made("right", 4)
    total = made("total", 4, left, right)
    ids = {t: f"{number}_{k}" for number, column in ((3, left), (5, right)) for k, t in enumerate(column)}
    assert submitted(total, dict(ids)) == [([f"total{k}" for k in range(4)], "aftercorr:3,aftercorr:5")]
    ids = {left[0]: "3_0", left[1]: "3_1", right[0]: "5", right[1]: "6", right[2]: "7"}
    assert submitted(total, ids) == [
        (["total0"], "afterok:3_0,afterok:5"),
        (["total1"], "afterok:3_1,afterok:6"),
        (["total2"], "afterok:7"),
        (["total3"], ""),
    ]


def test_no_array_is_larger_than_slurm_takes_and_each_waits_for_its_own(monkeypatch):
    monkeypatch.setattr(slurm, "LARGEST_ARRAY", 2)
    train = made("train", 5)
    total = made("total", 5, train)
    assert submitted([*train, *total], {}) == [
        (["train0", "train1"], ""),
        (["train2", "train3"], ""),
        (["train4"], ""),
        (["total0", "total1"], "aftercorr:1"),
        (["total2", "total3"], "aftercorr:2"),
        (["total4"], "afterok:3"),
    ]


def test_jobs_of_several_tasks_wait_for_the_jobs_that_they_read():
    train = made("train", 5)
    total = made("total", 5, train)
    both = ["train0+train1", "train2+train3", "train4"], ["total0+total1", "total2+total3", "total4"]
    ids: dict[Task, str] = {}
    assert submitted([*train, *total], ids, together=2) == [(both[0], ""), (both[1], "aftercorr:1")]
    trained = {t: ids[t] for t in train}
    alone = [([f"total{k}"], f"afterok:1_{k // 2}") for k in range(5)]
    assert submitted(total, dict(trained)) == alone
    # One job that fails as a whole must not end the rows of the other.
    across = [(["total0+total1+total2"], "afterany:1_0:1_1"), (["total3+total4"], "afterany:1_1:1_2")]
    assert submitted(total, dict(trained), together=3) == across
    ((source,), train) = made("source", 1), made("train", 4)
    last = made("last", 4, [source] * 4, train)
    jobs = submitted([source, *last], dict.fromkeys(train, "7"), together=4)
    assert jobs == [(["source0"], ""), (["last0+last1+last2+last3"], "afterok:8,afterok:7")]


def test_levels_put_inputs_first_and_part_a_stage_that_needs_itself():
    (first,) = made("train", 1)
    again = Task("train", "again", {}, dataclasses.replace(experiment(), seed=1), {"train": first})
    last = Task("total", "last", {}, experiment(), {"train": again})
    assert [[t.key for t in level] for level in slurm._levels([first, again, last])] == [
        ["train0"],
        ["again"],
        ["last"],
    ]


def test_resources_become_parameters():
    resources = Resources(
        partition="gpu", account="vision", nodes=2, processes=4, cpus=8, gpus=1, memory_gib=64, hours=1
    )
    found = slurm._parameters("tokenizer", resources, "afterok:1", Path("/code"))
    assert found["time"] == 60
    assert found["ntasks_per_node"] == found["gpus_per_node"] == 4
    assert found["dependency"] == "afterok:1"
    assert not {"qos", "constraint"} & set(found)
    assert "dependency" not in slurm._parameters("tokenizer", resources, "", Path("/code"))
    assert "gpus_per_node" not in slurm._parameters("tokenizer", Resources(), "", Path("/code"))
    shared = slurm._parameters("tokenizer", Resources(cpus=8, together=3), "", Path("/code"))
    assert (shared["ntasks_per_node"], shared["cpus_per_task"]) == (1, 8)
    assert "export OMP_NUM_THREADS=2" in shared["setup"]


@pytest.mark.parametrize("state", ["PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED"])
def test_a_job_that_goes_on_is_in_the_queue(state, monkeypatch):
    monkeypatch.setattr(slurm, "_squeue", lambda users: {"3": (state, "None"), "4": (state, "None")})
    found = slurm.queue([SubmittedJob("slurm", "3", "", 0.0, 0)])
    assert found == {"3": "PENDING (None)" if state == "PENDING" else state}


@pytest.mark.parametrize("state", ENDED)
def test_a_job_that_slurm_still_remembers_is_not_in_the_queue(state, monkeypatch):
    monkeypatch.setattr(slurm, "_squeue", lambda users: {"3": (state, "None")})
    assert slurm.queue([SubmittedJob("slurm", "3", "", 0.0, 0), SubmittedJob("slurm", "4", "", 0.0, 0)]) == {}


@pytest.mark.parametrize(
    ("state", "expected"),
    [(state, "failed" if state in ("COMPLETED", "FAILED", "OUT_OF_MEMORY") else "stopped") for state in ENDED],
)
def test_what_the_cluster_ended_goes_on_with_the_next_command(state, expected, tmp_path):
    """What failed by itself would fail again, and waits to be tried again."""
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    jobs.record(run, "slurm", "7", tmp_path / "7_0_log.out")
    task = SimpleNamespace(inputs={}, run_in=lambda store: run)
    slurm._lost(task, Store(tmp_path), state)
    status = run.status()
    assert status["state"] == expected
    assert "its slurm job 7 " in status["reason"]
    assert str(tmp_path / "7_0_log.out") in status["reason"]
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["killed"]


def test_a_run_that_another_process_works_on_is_not_lost(tmp_path, monkeypatch):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    jobs.record(run, "slurm", "7", tmp_path / "7_0_log.out")
    with Store(tmp_path).run("tokenizer", "0123").lock:
        jobs.lost(run, jobs.submitted(run), "ended", failed=True)
    assert run.state == "running"


UNEVEN = {
    "local": ("[tokenizer]\nprocesses = 3\n", "local", {}, "16 of the 16 images of a batch do not split evenly over 3"),
    "a share": ("[tokenizer]\naccumulate = 8\n", "inline", {}, "4 of the 16 images of a batch do not split evenly"),
    "torchrun": ("", "inline", {"WORLD_SIZE": "3"}, "do not split evenly over 3 processes"),
    "twice": ("", "local", {"WORLD_SIZE": "2"}, "torchrun starts the processes of --executor inline"),
}


@pytest.mark.parametrize("case", UNEVEN)
def test_processes_that_cannot_share_a_batch_are_refused_before_anything_runs(case, tmp_path):
    content, executor, variables, expected = UNEVEN[case]
    (tmp_path / "cluster.toml").write_text(content)
    words = ["table5", "--scale", "smoke", "--executor", executor]
    done = command("harness.ablate", *words, cwd=tmp_path, env={**os.environ, **variables})
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.toml"]


def test_only_what_goes_on_where_it_was_is_put_back_at_its_time_limit():
    """All others would start again and again, and never end."""
    for stage in plugins.names("harness.stages"):
        module = plugins.load("harness.stages", stage, "stage")
        trains = hasattr(module, "batches")
        assert getattr(module, "resumes", False) == (trains or stage in ("samples", "guided_samples", "latents")), stage
        assert not trains or module.parallel
