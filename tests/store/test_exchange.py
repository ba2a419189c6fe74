from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import runs as command
from harness.ablate import main as ablate
from harness.experiments.keys import key_of
from harness.experiments.requests import AblationRequest, study_called
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember
from harness.store.exchange import export, take
from harness.store.runs import Store
from harness.sweep import main as sweep
from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake
from harness.system.files import digest
from reports.ablation.page import write
from tests.conftest import ROW

ASKED = AblationRequest("table5", study_called("table5"), scale("smoke"), rows=("mactok",))


@pytest.fixture
def exported(runs: Path, tmp_path: Path) -> Path:
    """The results of the row that ran, and nothing else of it."""
    (path,) = export(plan_of(ASKED).runs_by_seed(Store(runs)), tmp_path / "results")
    return path


def test_what_is_taken_says_the_same_and_is_done(exported, runs, tmp_path):
    taken = Store(tmp_path / "taken")
    planned = plan_of(ASKED).tasks
    assert take([exported], taken) == [(len(planned), 0)]
    for t in planned:
        ours, theirs = t.run_in(taken), t.run_in(Store(runs))
        assert ours.state == "done"
        assert ours.records() == theirs.records()
        assert ours.status() == theirs.status()
        assert ours.experiment() == theirs.experiment()
        assert not list(ours.folder.glob("*.safetensors"))
        curves = theirs.folder / "metrics.csv"
        assert not curves.exists() or ours.file("metrics.csv").read_bytes() == curves.read_bytes()
    assert take([exported], taken) == [(0, len(planned))]
    assert not list(taken.root.glob("*/.*[!k]"))  # but for locks nothing hidden is left


def test_the_page_of_taken_results_has_the_same_numbers(exported, runs, tmp_path):
    taken = Store(tmp_path / "taken")
    take([exported], taken)
    pages = []
    for store, out in ((Store(runs), "whole"), (taken, "text")):
        write(ASKED, store, tmp_path / out)
        page = next((tmp_path / out).glob("*-*.md")).read_text()
        pages.append([line for line in page.splitlines() if line.startswith("|")])
    assert pages[0] == pages[1]
    assert len(pages[0]) > 30


def test_the_same_command_does_nothing_with_what_was_taken(exported, tmp_path, capsys):
    take([exported], Store(tmp_path / "taken"))
    assert ablate([*ROW, "--runs", str(tmp_path / "taken"), "--out", str(tmp_path / "out")]) == 0
    assert "stages to run" not in capsys.readouterr().err


def test_more_seeds_need_no_more_than_one_command(exported, tmp_path, capsys):
    """What the new seed reads of the taken runs has no files, and is made again."""
    taken = Store(tmp_path / "taken")
    take([exported], taken)
    assert ablate([*ROW, "--seeds", "2", "--runs", str(taken.root), "--out", str(tmp_path / "out")]) == 0
    assert "images.npy is gone: it is made again" in capsys.readouterr().err
    assert {run.state for run in taken.runs()} == {"done"}


@pytest.mark.slow
def test_more_seeds_of_a_sweep_need_no_more_than_one_command(tmp_path, capsys):
    space = ["--space", "masking.max_ratio=0.3,0.7", "--objective", "kl"]
    words = ["mask_ratio", "--scale", "smoke", *space, "--out", str(tmp_path / "out"), "--quiet"]
    assert sweep([*words, "--runs", str(tmp_path / "runs")]) == 0
    assert command.main(["mask_ratio", "--export", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]) == 0
    taken = Store(tmp_path / "taken")
    take(list((tmp_path / "results").iterdir()), taken)
    assert len(taken.runs()) > 4
    capsys.readouterr()
    assert sweep([*words, "--seeds", "2", "--runs", str(taken.root)]) == 0
    assert "images.npy is gone: it is made again" in capsys.readouterr().err
    assert {run.state for run in taken.runs()} == {"done"}


def test_what_is_there_is_kept_and_what_failed_is_replaced(exported, runs, tmp_path):
    store = Store(tmp_path / "mine")
    shutil.copytree(runs, store.root)
    kept, failed = (t.run_in(store) for t in plan_of(ASKED).tasks[:2])
    failed.set_state("failed", "made up")
    weights = sorted(path.name for path in kept.folder.iterdir())
    assert take([exported], store) == [(1, len(plan_of(ASKED).tasks) - 1)]
    assert failed.state == "done"
    assert sorted(path.name for path in kept.folder.iterdir()) == weights


@pytest.mark.parametrize("damage", ["digit", "cut", "key", "other"])
def test_damaged_results_are_refused_before_anything_is_taken(damage, exported, tmp_path):
    lines = exported.read_text().splitlines()
    last = json.loads(lines[-1])
    if damage == "digit":
        last["result"]["records"][0]["value"] += 1
    if damage == "key":
        last["key"] = "0" * 16
    lines[-1] = {"cut": lines[-1][:-40], "other": '{"a": 1}'}.get(damage, json.dumps(last))
    exported.write_text("\n".join(lines))
    with pytest.raises(Mistake, match=f"line {len(lines)} of .* is (damaged|not a finished run)"):
        take([exported], Store(tmp_path / "taken"))
    assert not (tmp_path / "taken").exists()


def test_results_that_are_there_are_not_replaced_by_others(exported, runs, tmp_path):
    by_seed = plan_of(ASKED).runs_by_seed(Store(runs))
    before = exported.read_bytes()
    assert list(export(by_seed, exported.parent)) == [exported]  # the same results
    exported.write_bytes(before[:-2])
    with pytest.raises(Mistake, match="exists with other results"):
        export(by_seed, exported.parent)
    assert exported.read_bytes() == before[:-2]


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "stage outside the store": lambda run: run.update(stage="../../ESCAPED"),
    "absolute stage": lambda run: run.update(stage="/tmp/ESCAPED"),
    "stage of another run": lambda run: run.update(stage="reference"),
    "folder that is no stage": lambda run: (run.update(stage="jobs"), run["config"].update(stage="jobs")),
    "hidden stage": lambda run: run.update(stage=".hidden"),
    "stage that is no text": lambda run: run.update(stage=7),
    "no stage": lambda run: run.pop("stage"),
    "key outside the store": lambda run: run.update(key="../../../ESCAPED"),
    "more fields": lambda run: run.update(more=1),
    "no configuration": lambda run: run.update(config=None),
    "configuration that is a list": lambda run: run.update(config=[]),
    "inputs outside the store": lambda run: run["config"].update(inputs={"data": "../../etc"}),
    "experiment that is a text": lambda run: run.update(experiment="x"),
    "fields that are deep": lambda run: run["experiment"].update(seed={"a": {"b": {}}}),
    "status that is null": lambda run: run.update(status=None),
    "unknown state": lambda run: run["status"].update(state="excellent"),
    "not finished": lambda run: run["status"].update(state="running"),
    "no attempts": lambda run: run["status"].update(attempts=[]),
    "attempt without an environment": lambda run: run["status"]["attempts"][0].pop("environment"),
    "seconds that are text": lambda run: run["status"]["attempts"][0].update(seconds="long"),
    "seconds that are infinite": lambda run: run["status"]["attempts"][0].update(seconds=float("inf")),
    "result that is a list": lambda run: run.update(result=[]),
    "records without a metric": lambda run: run["result"]["records"].append({"value": 1.0}),
    "value that is text": lambda run: run["result"]["records"].append(RECORD | {"value": "9.1"}),
    "value that is NaN": lambda run: run["result"]["records"].append(RECORD | {"value": float("nan")}),
    "value beyond all numbers": lambda run: run["result"]["records"].append(RECORD | {"value": 10**400}),
    "N that is huge": lambda run: run["result"]["records"].append(RECORD | {"n": 10**30}),
    "N that is negative": lambda run: run["result"]["records"].append(RECORD | {"n": -1}),
    "interval of three": lambda run: run["result"]["records"].append(RECORD | {"interval": [1.0, 2.0, 3.0]}),
    "metric with a path": lambda run: run["result"]["records"].append(RECORD | {"metric": "../rfd"}),
    "protocol of two lines": lambda run: run["result"]["records"].append(RECORD | {"protocol": "a\n# b"}),
    "no units": lambda run: run["result"]["facts"].pop("units"),
    "units that are zero": lambda run: run["result"]["facts"].update(units=0),
    "files outside the run": lambda run: run["result"]["files"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}),
    "checksum that is none": lambda run: run["result"]["files"].update({"x": {"bytes": 1, "sha256": "?"}}),
    "curves that nobody listed": lambda run: run.update({"metrics.csv": "step,metric,value\n0,x,1\n"}),
}
RECORD = {"metric": "rfd", "value": 1.0, "n": 1, "step": 1, "split": "val", "protocol": "a"}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_results_are_refused_in_one_line_and_nothing_of_any_file_is_taken(case, exported, tmp_path):
    content = json.loads(exported.read_text().splitlines()[0])
    del content["sha256"]
    before = copy.deepcopy(content["config"])
    HOSTILE[case](content)
    if content["config"] != before and isinstance(content["config"], dict):
        content["key"] = key_of(content["config"])
    hostile = tmp_path / "hostile.jsonl"
    hostile.write_text(json.dumps({"sha256": digest(content), **content}) + "\n")
    with pytest.raises(Mistake, match=f"line 1 of {hostile}") as refused:
        take([exported, hostile], Store(tmp_path / "stores/taken"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert {path.name for path in tmp_path.iterdir()} == {"results", "hostile.jsonl"}
    assert not Path("/tmp/ESCAPED").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "null", "[]", "7", '"x"', "9" * 5000, "\0", ""])
def test_lines_that_are_no_runs_are_refused(text, tmp_path):
    path = tmp_path / "hostile.jsonl"
    path.write_text(f"{text}\n")
    with pytest.raises(Mistake, match=f"line 1 of {path}"):
        take([path], Store(tmp_path / "taken"))
    assert not (tmp_path / "taken").exists()


def test_committed_results_are_all_taken(tmp_path):
    files = sorted((CHECKOUT / "reports").glob("*/*/seed-*.jsonl"))
    assert files
    assert all(taken + present for taken, present in take(files, Store(tmp_path)))


def test_the_command(runs, tmp_path, capsys):
    store = tmp_path / "mine"
    shutil.copytree(runs, store)
    remember(ASKED, Store(store))
    assert command.main(["table5", "--runs", str(store), "--export", str(tmp_path / "results")]) == 0
    path = tmp_path / "results/seed-0.jsonl"
    assert str(path) in capsys.readouterr().out
    assert command.main(["--runs", str(tmp_path / "taken"), "--take", str(path)]) == 0
    assert f"{len(plan_of(ASKED).tasks)} runs added, 0 were in the store already" in capsys.readouterr().out
    with pytest.raises(Mistake, match="not a file of results"):
        command.main(["--runs", str(tmp_path / "taken"), "--take", str(tmp_path / "absent")])
    with pytest.raises(Mistake, match="takes one page"):
        command.main(["--runs", str(store), "--export", str(tmp_path / "results")])
    with pytest.raises(Mistake, match=r"nothing of .* is done"):
        remember(ASKED, Store(tmp_path / "empty"))
        command.main(["table5", "--runs", str(tmp_path / "empty"), "--export", str(tmp_path / "nothing")])
    assert not (tmp_path / "nothing").exists()
