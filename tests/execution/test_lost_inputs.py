"""An input whose files are gone is made again within the same command, and then all of its readers run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Fixed, Options
from harness.execution.worker import Place, perform
from harness.planning import task as planned
from harness.planning.task import Task
from harness.store.runs import Store
from tests import toy
from tests.conftest import experiment
from tests.stages.few_images import CPU

DATA = Task("data", "d0", {}, experiment(), {})
WEIGHTS = Task("weights", "w0", {}, experiment(), {"data": DATA})
READERS = [Task("reader", f"r{k}", {}, experiment(), {"data": DATA, "weights": WEIGHTS}) for k in range(3)]
LAST = Task("last", "l0", {}, experiment(), {"reader": READERS[0]})


@pytest.fixture
def backlog(tmp_path: Path) -> Backlog:
    """The backlog of a store that has data and weights."""
    tasks = [DATA, WEIGHTS, *READERS, LAST]
    backlog = Backlog(Fixed(dict.fromkeys(tasks, "")), Store(tmp_path), Options())
    for task in (DATA, WEIGHTS):
        done(backlog, task)
    assert backlog.fresh() == [*READERS, LAST]
    return backlog


def done(backlog: Backlog, task: Task) -> None:
    run = task.run_in(backlog.store)
    run.begin({}, {"scale": "smoke"})
    run.finish([], {"units": 1.0})


def stopped(backlog: Backlog, task: Task, lost: Task | None = None) -> None:
    """The task has stopped, because files of `lost` are gone if one is given."""
    run = task.run_in(backlog.store)
    run.begin({}, {})
    run.end("stopped")
    if lost is not None:
        lost.run_in(backlog.store).reset("damaged")


def test_all_readers_run_after_the_input_which_is_made_once(backlog):
    for reader in READERS:
        stopped(backlog, reader, WEIGHTS)
    assert backlog.refilled([LAST], READERS[:2]) == [WEIGHTS, *READERS[:2], LAST]
    assert backlog.refilled([WEIGHTS, *READERS[:2], LAST], READERS[2:]) == [READERS[2], WEIGHTS, *READERS[:2], LAST]
    assert list(backlog.taken) == [*READERS, LAST, WEIGHTS]


def test_an_input_whose_folder_is_gone_is_made_again(backlog):
    shutil.rmtree(WEIGHTS.run_in(backlog.store).folder)
    stopped(backlog, READERS[0], WEIGHTS)
    assert backlog.again(READERS[:1]) == [WEIGHTS, READERS[0]]


def test_a_reader_that_stops_late_runs_again_too(backlog):
    for reader in READERS[:2]:
        stopped(backlog, reader, WEIGHTS)
    assert backlog.again(READERS[:1]) == [WEIGHTS, READERS[0]]
    done(backlog, WEIGHTS)
    assert backlog.again(READERS[1:2]) == [READERS[1]]


@pytest.mark.parametrize("state", ["waiting", "damaged"])
def test_a_reader_that_did_not_begin_runs_too_whichever_ends_first(state, backlog):
    stopped(backlog, READERS[1], WEIGHTS)
    stopped(backlog, READERS[0])
    READERS[0].run_in(backlog.store).set_state(state)
    assert backlog.again(READERS[:1]) == [WEIGHTS, READERS[0]]
    assert backlog.again(READERS[1:2]) == [READERS[1]]


def test_what_an_input_reads_may_be_lost_as_well(backlog):
    stopped(backlog, READERS[0], WEIGHTS)
    assert backlog.again([READERS[0]]) == [WEIGHTS, READERS[0]]
    stopped(backlog, WEIGHTS, DATA)
    assert backlog.refilled([READERS[0]], [WEIGHTS]) == [DATA, WEIGHTS, READERS[0]]
    for task in (DATA, WEIGHTS):
        done(backlog, task)
        assert not backlog.again([task])
    stopped(backlog, READERS[1], DATA)
    assert backlog.again([READERS[1]]) == [READERS[1]]  # data again, which is not made a third time


def test_it_ends(backlog):
    rounds = 0
    waiting = [READERS[0]]
    while waiting:
        rounds += 1
        for task in waiting:
            if task in READERS:
                stopped(backlog, task, WEIGHTS)
            else:
                done(backlog, task)
        waiting = backlog.again(waiting)
    assert rounds == 2


def test_other_stops_stay(backlog):
    stopped(backlog, READERS[0])
    assert not backlog.again([READERS[0]])
    assert not backlog.again([LAST])  # as of a job that the cluster ended
    done(backlog, READERS[1])
    WEIGHTS.run_in(backlog.store).reset("damaged")
    assert not backlog.again([READERS[1]])  # it needs them no more


def test_an_input_that_failed_is_not_tried_again(backlog):
    stopped(backlog, READERS[0], WEIGHTS)
    DATA.run_in(backlog.store).set_state("failed")
    assert not backlog.again([READERS[0]])


def test_readers_of_a_reader_come_back_too(backlog):
    stopped(backlog, READERS[0], WEIGHTS)
    assert backlog.again([READERS[0], LAST]) == [WEIGHTS, READERS[0], LAST]


def test_what_nobody_wants_any_more_stays(backlog, monkeypatch):
    stopped(backlog, READERS[0], WEIGHTS)
    monkeypatch.setattr(Fixed, "wanted", lambda _: [DATA, WEIGHTS])
    monkeypatch.setattr(Fixed, "unwanted", lambda _, task: task == READERS[0])
    assert backlog.refilled([], [READERS[0]]) == [WEIGHTS]


def test_the_bar_counts_what_is_over(backlog, monkeypatch):
    bar = StagesBar(backlog, 1, quiet=True)
    stopped(backlog, READERS[0], WEIGHTS)
    bar.end(READERS[0])
    backlog.again([READERS[0]])
    assert (len(bar._ended), bar.total) == (0, 5)
    for n, task in enumerate((WEIGHTS, READERS[0]), 1):
        done(backlog, task)
        bar.end(task)
        assert len(bar._ended) == n


@pytest.mark.parametrize("damage", ["gone", "torn", "without content"])
def test_damaged_data_end_the_stage_that_reads_them_and_not_the_process(damage, tmp_path):
    store = Store(tmp_path)
    reader = planned.task("pca", experiment())
    data = reader.inputs["data"].run_in(store)
    data.begin({}, {})
    data.finish([], {"units": 1})
    result = data.folder / "result.json"
    if damage != "without content":
        result.unlink() if damage == "gone" else result.write_text("{")
    assert perform(reader, store, "a row", Place(CPU, lambda: False, quiet=True)) == "stopped"
    assert reader.run_in(store).status()["reason"].startswith(f"{result} ")
    assert data.state == "damaged"


WAYS = {"together": ("--workers", "2"), "inline": ("--workers", "1"), "local": ("--executor", "local")}


@pytest.mark.parametrize("way", WAYS)
def test_every_executor_makes_it_again_at_once(way, checkout, tmp_path):
    command = [*toy.COMMAND, "--runs", str(tmp_path), "--rows", "2", *WAYS[way]]
    environment = toy.environment(checkout)
    subprocess.run(command, env=environment, capture_output=True, check=True)
    expected = toy.results(tmp_path)
    for file in (*tmp_path.glob("toy_source/*/bytes.bin"), *tmp_path.glob("toy_train/*/state.txt")):
        file.unlink()
    shutil.rmtree(tmp_path / "toy_sum")
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert toy.results(tmp_path) == expected
    counts = re.findall(r"^\[(\d+) of (\d+) stages?\]", again.stderr, re.MULTILINE)
    assert [n for n, _ in counts] == ["1", "2", "3", "4", "5"]
    assert counts[-1] == ("5", "5")
    if way != "local":  # jobs say so in their logs
        assert len(re.findall(r"stopped: \S+state\.txt is gone: it is made again", again.stderr)) == 2
        assert "bytes.bin is gone: it is made again" in again.stderr
