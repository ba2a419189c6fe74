"""Commands about a sweep, the storages that keep it, and the one line for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.search.toy_sweep import RANDOM, SHARE, SWEEP, TRIALS, Bowl, files, mistake

# Commands about it


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_the_store_alone_tells_all_of_a_sweep(sampler, whole, tmp_path):
    bowl = whole(sampler).copy(tmp_path)
    runs, trials = files(bowl.runs), TRIALS[sampler]
    bowl.done(module="harness.report")
    assert bowl.page() == whole(sampler).page()
    assert set(files(bowl.out)) == set(files(whole(sampler).out))
    shown = bowl.done("--details", module="harness.status")
    assert f"{trials + 1} done" in shown
    assert shown.count("toy_bowl") == trials
    shown = bowl.asked_about("harness.runs", "bowl")
    assert f"{trials + 1} of {trials + 1} runs are done" in shown
    assert "M = " in shown
    assert "All runs are wanted" in bowl.asked_about("harness.prune", "--yes")
    changed = {name for name, content in files(bowl.runs).items() if runs.get(name) != content}
    assert all(name.endswith(".lock") for name in changed)
    assert set(runs) <= set(files(bowl.runs))


def test_a_dry_run_writes_nothing_and_tells_what_is_cached(whole, forks, tmp_path):
    bowl = Bowl(forks, tmp_path)
    assert "10 of 10 stages to run" in bowl.done("--dry-run")
    assert "24 trials by tpe" in bowl.done("--dry-run", "--sampler", "tpe", "--trials", "24")
    assert not list(tmp_path.iterdir())
    bowl = whole("grid").copy(tmp_path)
    before = files(bowl.runs)
    assert "All 10 stages are done" in bowl.done("--dry-run")
    assert "1 of 3 stages to run" in bowl.done("--dry-run", "--space", "masking.max_ratio=0.3,0.4", *SHARE)
    assert files(bowl.runs) == before
    assert not bowl.out.exists()


def test_a_dry_run_needs_neither_torch_nor_optuna(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", SWEEP, "mask_ratio", "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.returncode == 0, done.stderr[-1000:]
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "matplotlib", "pandas", "sklearn", "scipy", "optuna"}
    assert not list(tmp_path.iterdir())


# Storages


def test_a_sweep_may_be_kept_in_a_database(whole, undrawn):
    url = f"sqlite:///{undrawn.place}/trials.db"
    words = (*RANDOM, "--storage", url, "--trials")
    undrawn.done(*words, "1")
    undrawn.done(*words, "2")
    assert undrawn.trials(storage=url) == whole("random").trials()[:2]
    assert not undrawn.journal().exists()
    page = undrawn.page()
    assert "optuna-dashboard sqlite:///PLACE/trials.db" in page
    undrawn.done("--storage", url, module="harness.report")
    assert undrawn.page() == page


def test_a_study_of_another_space_is_not_added_to(undrawn, forks):
    declared, storage = forks.place / "ablations/bowl.py", undrawn.place / "kept/trials.journal"
    words, text = (*RANDOM, "--storage", str(storage), "--trials", "2"), declared.read_text()
    undrawn.done(*words)
    before, kept = files(undrawn.runs), storage.read_bytes()
    assert "high=1.0" in text
    declared.write_text(text.replace("high=1.0", "high=0.95", 1))
    try:
        mistake(undrawn(*words), "another space of M: 0 to 1 there, 0 to 0.95 here", "--storage")
    finally:
        declared.write_text(text)
    assert files(undrawn.runs) == before
    assert storage.read_bytes() == kept
    undrawn.done(*words)


def test_a_file_that_is_no_journal_is_left_as_it_is(bowl):
    notes = bowl.place / "notes.txt"
    notes.write_text("what else\nwas noted")
    ended = bowl("--storage", str(notes))
    assert ended.code in (1, 2)
    assert ended.errors.count("\n") == 1
    assert notes.read_text() == "what else\nwas noted"
    assert not bowl.runs.exists()


# Mistakes


MISTAKES = {
    "sweep": (["--trials", "1"], "bowll", ["Did you mean 'bowl'"]),
    "sampler": (["--sampler", "tpee"], "bowl", ["unknown sampler", "Did you mean 'tpe'"]),
    "pruner": (["--pruner", "medain"], "bowl", ["unknown pruner", "Did you mean 'median'"]),
    "objective": (["--objective", "rdf"], "bowl", ["unknown objective", "Did you mean 'rfd'"]),
    "objective twice": (["--objective", "rfd,rfd"], "bowl", ["different"]),
    "pruner of two": (["--objective", "rfd,kl", "--pruner", "median"], "bowl", ["--pruner median", "by one objective"]),
    "cmaes of two": (["--objective", "rfd,kl", "--sampler", "cmaes"], "bowl", ["cmaes", "one objective"]),
    "cmaes of one range": (["--space", "masking.max_ratio=0:1", "--sampler", "cmaes"], "bowl", ["two ranges"]),
    "field": (["--space", "masking.max_rato=0:1"], "bowl", ["no 'max_rato'", "Did you mean 'max_ratio'"]),
    "group": (["--space", "masking=0:1"], "bowl", ["group of fields"]),
    "no number": (["--space", "masking.per=0:1"], "bowl", ["is not a number"]),
    "form": (["--space", "masking.max_ratio=a:b"], "bowl", ["FIELD=LOW:HIGH"]),
    "reversed": (["--space", "masking.max_ratio=1:0"], "bowl", ["the lower one first"]),
    "log of 0": (["--space", "masking.max_ratio=0:1:log"], "bowl", ["above 0"]),
    "range": (["--space", "masking.max_ratio=0:1.5", *RANDOM], "bowl", ["less than or equal to 1"]),
    "value": (["--space", "masking.max_ratio=0.5,1.5"], "bowl", ["1.5", "less than or equal to 1"]),
    "whole number": (["--space", "tokens=2.5,4"], "bowl", ["2.5", "whole number"]),
    "no influence": (["--space", "alignment.weight=0.1,1"], "bowl", ["no influence on the row 'mixed'"]),
    "field twice": (
        ["--space", "masking.max_ratio=0,1", "--space", "tokenizer.masking.max_ratio=0,1"],
        "bowl",
        ["twice"],
    ),
    "seed": (["--space", "seed=0,1"], "bowl", ["--seeds"]),
    "no influence on the objective": (["--space", "training.learning_rate=0.1,0.2"], "bowl", ["no influence on rFD"]),
    "range on a grid": (["--space", "masking.max_ratio=0:1", "--sampler", "grid"], "bowl", ["has a range and no grid"]),
    "no space": ([], "own", ["--space"]),
    "trials": (["--trials", "0"], "bowl", ["--trials 0", "at least 1"]),
    "swept and set": (["--set", "masking.max_ratio=0.5"], "bowl", ["is swept", "--set"]),
    "table": ([], "table5", ["table5 is an ablation: python -m harness.ablate table5 runs it"]),
    "unreachable": (
        ["--storage", "postgresql+psycopg://x:secret@127.0.0.1:1/none"],
        "bowl",
        ["x:***@127.0.0.1:1/none cannot be reached"],
    ),
    "nonsense": (["--storage", "nonsense://x"], "bowl", ["nonsense://x cannot be reached"]),
    "folder": (["--storage", "/"], "bowl", ["the storage / is a folder"]),
    "journal": (["--storage", "/proc/none/trials"], "bowl", ["the storage /proc/none/trials: /proc/none cannot be"]),
    "no journal": (["--storage", __file__], "bowl", ["is not a journal of Optuna"]),
    "no database": (["--storage", f"sqlite:///{__file__}"], "bowl", ["is not a database of SQLite"]),
    "in memory": (["--storage", "sqlite://"], "bowl", ["the storage sqlite:// is in memory"]),
    "named in memory": (["--storage", "sqlite:///file:x?mode=memory&uri=true"], "bowl", ["is in memory"]),
    "sqlite": (["--storage", "sqlite:////proc/none/trials.db"], "bowl", ["trials.db cannot be written: /proc/none"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line_exit_code_2_and_nothing_written(case, bowl):
    words, study, expected = MISTAKES[case]
    ended = bowl(*words, study=study)
    mistake(ended, *expected)
    assert "secret" not in ended.errors
    assert not list(bowl.place.iterdir())


@pytest.mark.parametrize("case", [case for case, (words, *_) in MISTAKES.items() if "--storage" in words])
def test_a_dry_run_tries_the_storage(case, bowl):
    words, study, expected = MISTAKES[case]
    mistake(bowl(*words, "--dry-run", study=study), *expected)
    assert not list(bowl.place.iterdir())


def test_torchrun_is_refused(bowl):
    mistake(bowl(before='os.environ["WORLD_SIZE"] = "2"'), "torchrun")
    assert not list(bowl.place.iterdir())


def test_other_commands_name_the_one_that_is_meant(bowl):
    mistake(bowl(module="harness.ablate"), "bowl is a sweep", "harness.sweep bowl")
    for module in ("harness.report", "harness.status"):
        mistake(bowl(module=module), "next: python -m harness.sweep bowl --scale smoke")
    assert not list(bowl.place.iterdir())
