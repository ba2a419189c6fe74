from __future__ import annotations

import subprocess
import sys

import pytest

from harness.system import plugins


def command(*words: str, cwd=None, **options):
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=120, **options
    )


MISTAKES = {
    "no study": ([], "name a study"),
    "study": (["tabel5"], "Did you mean 'table5'"),
    "row": (["table5", "--rows", "mactk"], "unknown row 'mactk'"),
    "scale": (["table5", "--scale", "tinny"], "Did you mean 'tiny'"),
    "data": (["table5", "--data", "embeded"], "Did you mean 'embedded'"),
    "argument of embedded": (["table5", "--data", "embedded:x"], "embedded"),
    "folder": (["table5", "--data", "folder:nowhere"], "not there"),
    "empty folder": (["table5", "--data", "folder:empty"], "no class folders"),
    "field": (["table5", "--set", "masking.ratio=0.5"], "no 'ratio'"),
    "group": (["table5", "--set", "masking=0.5"], "group of fields"),
    "value": (["table5", "--set", "masking.max_ratio=1.2"], "less than or equal to 1"),
    "tokens": (["table5", "--set", "tokens=7"], "does not divide"),
    "teacher": (["table5", "--set", "teacher=dinov3"], "unknown teacher"),
    "form": (["table5", "--set", "masking.max_ratio"], "FIELD=VALUE"),
    "no influence": (["table5", "--rows", "kl_vae", "--set", "alignment.weight=2"], "no influence"),
    "breaks a rung": (["table5", "--set", "masking.semantic_share=0.5"], "in one field"),
    "generator": (["table5", "--set", "generator.name=sitt"], "Did you mean 'sit'"),
    "interval": (["table5", "--set", "guidance.intervals=0.9:0.7"], "guidance.intervals: 0.9 is not below 0.7"),
    "no steps": (["table5", "--set", "sampling.steps=0"], "greater than or equal to 1"),
    "seeds": (["table5", "--seeds", "0"], "at least 1"),
    "no store": (["table5", "--runs", ""], "--runs: an empty name"),
    "lines": (["table5", "--runs", "a\nb"], "cannot be printed"),
    "no folder for reports": (["table5", "--out", " "], "--out: an empty name"),
    "a file for the store": (["table5", "--runs", "file"], "file is not a folder"),
    "a store in a file": (["table5", "--runs", "file/runs"], "file is not a folder"),
    "a file for reports": (["table5", "--out", "file"], "file is not a folder"),
    "no data": (["table5", "--data", ""], "--data names no data set"),
    "no rows": (["table5", "--rows", ",,"], "names no row"),
    "two values": (["table5", "--set", "tokens=8", "--set", "tokens=4"], "two values: 8 and 4"),
    "value of lines": (["table5", "--set", "tokens=a\nb"], "tokens"),
    "seed by --set": (["table5", "--set", "seed=3"], "--seeds"),
}


@pytest.mark.parametrize("entry", ["ablate", "report"])
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line_exit_code_2_and_nothing_written(case, entry, tmp_path):
    words, expected = MISTAKES[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    done = command(f"harness.{entry}", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file"]
    assert not any((tmp_path / "empty").iterdir())


def test_everything_that_can_be_named_is_listed():
    done = command("harness", "--list")
    assert done.returncode == 0
    for package in (
        "ablations",
        "harness.data.sets",
        "harness.evaluation.metrics",
        "harness.stages",
        "models.generators",
        "models.tokenizers",
        "harness.hub.released",
    ):
        for name in plugins.names(package):
            assert f"  {name} " in done.stdout, name


@pytest.mark.parametrize("words", [["--help"], ["--list"], ["table5", "--dry-run"]])
def test_questions_are_answered_without_torch(words, tmp_path):
    done = command("harness.ablate", *words, cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1", "PATH": ""})
    assert done.returncode == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "matplotlib", "pandas", "sklearn", "torch_fidelity"}
    assert not list(tmp_path.iterdir())


def test_a_plan_can_be_made_where_data_are_absent_that_nobody_typed(tmp_path):
    done = command("harness.ablate", "table5", "--dry-run", "--scale", "paper256", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("warning: these data are not on this machine")
    assert "unknown" in done.stdout


def test_dry_run_shares_stages_and_tells_disk(tmp_path):
    done = command("harness.ablate", "table5", "--dry-run", "--details", "--scale", "smoke", cwd=tmp_path)
    lines = [line.split() for line in done.stdout.splitlines()]
    stages = [line[0] for line in lines if line]
    assert stages.count("data") == stages.count("teacher_features") == 1
    assert stages.count("tokenizer") == stages.count("evaluation") == 7
    assert "GiB free" in done.stdout
