from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import runs as command
from harness.ablate import main as ablate
from harness.experiments.requests import AblationRequest, study_called
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember
from harness.store.exchange import export, take
from harness.store.runs import Store
from harness.system.errors import Mistake
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
    assert take(exported, taken) == (len(planned), 0)
    for t in planned:
        ours, theirs = t.run_in(taken), t.run_in(Store(runs))
        assert ours.state == "done"
        assert ours.records() == theirs.records()
        assert ours.status() == theirs.status()
        assert ours.experiment() == theirs.experiment()
        assert not list(ours.folder.glob("*.safetensors"))
        curves = theirs.folder / "metrics.csv"
        assert not curves.exists() or ours.file("metrics.csv").read_bytes() == curves.read_bytes()
    assert take(exported, taken) == (0, len(planned))
    assert not list(taken.root.glob("*/.*[!k]"))  # but for locks nothing hidden is left


def test_the_page_of_taken_results_has_the_same_numbers(exported, runs, tmp_path):
    taken = Store(tmp_path / "taken")
    take(exported, taken)
    pages = []
    for store, out in ((Store(runs), "whole"), (taken, "text")):
        write(ASKED, store, tmp_path / out)
        page = next((tmp_path / out).glob("*.md")).read_text()
        pages.append([line for line in page.splitlines() if line.startswith("|")])
    assert pages[0] == pages[1]
    assert len(pages[0]) > 30


def test_the_same_command_does_nothing_with_what_was_taken(exported, tmp_path, capsys):
    take(exported, Store(tmp_path / "taken"))
    assert ablate([*ROW, "--runs", str(tmp_path / "taken"), "--out", str(tmp_path / "out")]) == 0
    assert "stages to run" not in capsys.readouterr().err


def test_what_is_there_is_kept_and_what_failed_is_replaced(exported, runs, tmp_path):
    store = Store(tmp_path / "mine")
    shutil.copytree(runs, store.root)
    kept, failed = (t.run_in(store) for t in plan_of(ASKED).tasks[:2])
    failed.set_state("failed", "made up")
    weights = sorted(path.name for path in kept.folder.iterdir())
    assert take(exported, store) == (1, len(plan_of(ASKED).tasks) - 1)
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
    with pytest.raises(Mistake, match=f"line {len(lines)} of .* is damaged"):
        take(exported, Store(tmp_path / "taken"))
    assert not (tmp_path / "taken").exists()


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
