"""What cannot be done is refused in one line before anything is written, also by a plan that would not run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from harness import cli
from tests.commands.stores import filled, request_of
from tests.conftest import ROW, save_class

SMOKE = ["--scale", "smoke"]
REFUSED = {
    "ablate, a rehearsal that does nothing": ([*ROW, "--one-step", "--dry-run"], "leave out --dry-run"),
    "ablate, a rehearsal elsewhere": ([*ROW, "--one-step", "--executor", "slurm"], "leave out --executor"),
    "ablate, a rehearsal with a limit": ([*ROW, "--one-step", "--max-gpu-hours", "0"], "leave out --max-gpu-hours"),
    "ablate, a rehearsal of seeds": (
        [*ROW, "--one-step", "--seeds", "3", "--mfu", "0.2"],
        "leave out --mfu and --seeds",
    ),
    "ablate, no seeds to grow to": ([*ROW, "--until-decided", "--max-seeds", "0"], "--max-seeds 0: fewer than 2"),
    "report, no seeds to grow to": ([*ROW, "--until-decided", "--max-seeds", "0"], "--max-seeds 0"),
    "ablate, hardly any FLOPs": ([*ROW, "--dry-run", "--mfu", "1e-320"], "--mfu 9.99989e-321: at least 0.0001"),
    "everything, an unknown executor": ([*SMOKE, "--dry-run", "--executor", "nothing"], "unknown executor 'nothing'"),
    "everything, no seeds": ([*SMOKE, "--dry-run", "--seeds", "0"], "--seeds 0: at least 1"),
    "everything, an unknown field": ([*SMOKE, "--dry-run", "--set", "foo.bar=1"], "unknown field 'foo.bar'"),
    "everything, no steps": ([*SMOKE, "--dry-run", "--set", "training.steps=0"], "training.steps = 0"),
    "claims, an unknown field": ([*SMOKE, "--set", "foo.bar=1", "--runs", "{store}"], "unknown field 'foo.bar'"),
    "status, of no study": (
        ["--scale", "foo", "--data", "foo", "--runs", "{store}"],
        "--scale and --data choose runs of a STUDY",
    ),
    "status, an empty name": (["", "--runs", "{store}"], "unknown study ''"),
    "status, without a store": (ROW, "nothing of table5-smoke-"),
    "cancel, without a store": (ROW, "no store at new"),
    "generate, without a store": (["--run", "abc"], "no store at new"),
    "reconstruct, without a store": (["pictures", "--run", "abc"], "no store at new"),
    "publish, without a store": (["--run", "abc", "--out", "out"], "no store at new"),
    "tokenize, without a store": (["pictures", "--tokenizer", "abc"], "no store at new"),
    "runs, no file to take": (["--take", "none"], "none is not a file of results"),
    "runs, an empty file to take": (["--take", "empty"], "empty is empty"),
    "runs, taking and more": (["{page}", "--take", "empty", "--json"], "leave out --json and STUDY"),
    "runs, two things": (
        ["{page}", "--runs", "{store}", "--export", "e", "--json"],
        "--export and --json are different",
    ),
    "runs, no project": (["{page}", "--runs", "{store}", "--wandb", ""], "--wandb names no project"),
    "bench, more than a batch": (["--batch", "9" * 20], "--batch 99999999999999999999: should be less than"),
    "evaluate, weights for nothing": (
        ["pictures", "--reference", "pictures", "--fewer", "--lpips-weights", "none"],
        "--lpips-weights: the protocol lite has no LPIPS",
    ),
    "report, an index of tables": (["--index", "--csv"], "--index lists pages"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(case, tmp_path, monkeypatch, capsys):
    request = request_of()
    store = filled(tmp_path / "store", request)
    named = {run.stage: run.key for run in store.runs()} | {"page": request.page, "store": store.root}
    monkeypatch.chdir(tmp_path)
    save_class(tmp_path / "pictures", 2)
    (tmp_path / "empty").touch()
    words, expected = REFUSED[case]
    words = [word.format(**named) for word in words]
    command = case.partition(",")[0]
    words += [] if "--runs" in words or command == "bench" else ["--runs", "new"]
    before = sorted(tmp_path.rglob("*"))
    assert cli.code_of(importlib.import_module(f"harness.{command}").main, words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert expected in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_the_place_of_a_stage_is_named(tmp_path: Path, capsys):
    store = filled(tmp_path / "store", request_of())
    (store.root / "snapshots").rename(tmp_path / "aside")
    (store.root / "snapshots").touch()
    for command in ("ablate", "report", "status"):
        assert cli.code_of(importlib.import_module(f"harness.{command}").main, [*ROW, "--runs", str(store.root)]) == 2
        assert "snapshots has to be a folder: move away what is there" in capsys.readouterr().err
