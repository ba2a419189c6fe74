"""The command `compare` puts two runs side by side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness import compare
from harness.experiments.fields import differences
from harness.planning.plan import plan_of
from harness.planning.task import experiment_of
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from tests.commands.stores import ENVIRONMENT, MACTOK, change, filled, make, request_of

RECORDS = [Record("psnr", 21.256, 128, 40, "val", "8-bit RGB"), Record("kid", 0.5, 128, 40, "val", "", 0.25)]


def pair(root: Path, **environment: object) -> tuple[Run, Run]:
    """Two runs of the stage `evaluation`."""
    store, records = Store(root), [dataclasses.replace(r, value=r.value + 1) for r in RECORDS]
    tasks = [plan_of(request_of(rows)).tasks for rows in (MACTOK, ("mactok_no_global",))]
    a, b = (next(t for t in found if t.stage == "evaluation") for found in tasks)
    return make(a, store, RECORDS), make(b, store, records, **environment)


def test_two_runs_side_by_side(tmp_path, capsys):
    versions = {"torch": "2.7.0", "numpy": "2.0.0"}
    a, b = pair(tmp_path, dtype="bfloat16", uncommitted="+ a line", versions=versions)
    assert compare.main([a.key[:6], b.key[:6], "--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["facts"]) == {"key", "state", "commit", "dtype", "torch"}
    assert found["facts"]["dtype"] == ["float32", "bfloat16"]
    assert found["facts"]["commit"][0] == ENVIRONMENT["commit"][:12]
    assert "with changes" in found["facts"]["commit"][1]
    ours, theirs = (experiment_of(run) for run in (a, b))
    assert list(found["fields"]) == list(differences(ours, theirs))
    assert len(found["fields"]) == 1
    assert [(n["metric"], n["delta"]) for n in found["numbers"]] == [("psnr", 1.0), ("kid", 1.0)]
    assert compare.main([a.key[:6], b.key[:6], "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    metric = plugins.load("harness.evaluation.metrics", "psnr", "metric")
    for expected in (
        f"{metric.title} ({metric.unit})",
        f"{21.256:.{metric.digits}f}",
        f"{1:+.{metric.digits}f}",
        " ± ",
    ):
        assert expected in text
    assert "No difference is taken" not in text


@pytest.mark.parametrize(("change", "said"), [({"protocol": "other"}, "other protocol"), ({"n": 64}, "other N")])
def test_no_difference_between_numbers_that_mean_something_else(change, said, tmp_path, capsys):
    a, b = pair(tmp_path)
    b.begin(b.config(), ENVIRONMENT)
    b.finish([dataclasses.replace(RECORDS[0], **change), Record("gfd", 3.0, 2, 40, "val", "")], {})
    assert compare.main([a.key, b.key, "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert said in text
    assert "No difference is taken" in text
    assert "gFD" not in text


def test_the_last_numbers_of_trainings_of_different_lengths_stand_side_by_side(tmp_path):
    a, b = pair(tmp_path)
    recorded = {a: (10, 20, 40), b: (10, 20, 30, 80)}
    for run, steps in recorded.items():
        run.begin(run.config(), ENVIRONMENT)
        run.finish([dataclasses.replace(RECORDS[0], step=step, value=float(step)) for step in steps], {})
    found = compare.numbers(a, b)
    assert [(n["steps"], n["delta"]) for n in found] == [((10, 10), 0), ((20, 20), 0), ((40, 80), 40)]


def test_what_is_not_finished_has_no_numbers_to_compare(tmp_path, capsys):
    a, b = pair(tmp_path)
    b.set_state("failed", "disk full")
    assert compare.main([a.key, b.key, "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "failed" in text
    assert "have no number in common. Runs of evaluation and generation have" in text


def test_what_cannot_be_compared(tmp_path):
    a, b = pair(tmp_path)
    filled(tmp_path, request_of(), remembering=False)
    other = plan_of(request_of()).tasks[0].key
    for words, expected in (
        ([a.key, other], "several runs of eval"),
        ([a.key, a.key[:8]], "the same run"),
    ):
        with pytest.raises(Mistake, match=expected):
            compare.main([*words, "--runs", str(tmp_path)])
    change(b.folder / "experiment.json", **{"tokenizer.colour": "red"})
    with pytest.raises(Mistake, match="is no longer valid"):
        compare.main([a.key, b.key, "--runs", str(tmp_path)])
    (b.folder / "experiment.json").unlink()
    with pytest.raises(Trouble):
        compare.main([a.key, b.key, "--runs", str(tmp_path)])


def test_two_stages_of_one_row_are_not_compared(tmp_path):
    filled(tmp_path, request_of(MACTOK), remembering=False)
    keys = {run.stage: run.key for run in Store(tmp_path).runs()}
    with pytest.raises(Mistake, match="are runs of one row: name runs of two rows"):
        compare.main([keys["evaluation"], keys["generation"], "--runs", str(tmp_path)])
