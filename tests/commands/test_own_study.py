"""A study of one's own: what `runs` and `prune` say of it, and what is wrong with its file."""

from __future__ import annotations

import pytest

from harness import ablate, benchmark, claims, cli, prune, runs
from harness.system import guests, plugins
from tests.commands.stores import filled, request_of
from tests.commands.test_next import OWN, options_of


@pytest.mark.parametrize("command", [runs, prune])
def test_a_request_with_plugins_names_them_and_nothing_else(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    store = filled(tmp_path / "runs", cli.request_of(options_of("--study", "mine.py", "--scale", "smoke")))
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.USERS.clear()
    plugins.SEEN.clear()
    plugins.names.cache_clear()
    assert cli.code_of(command.main, ["--runs", str(store.root)]) == (2 if command is prune else 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"made with plug-ins that are not given: --plugins {tmp_path / 'mine.py'}" in line
    assert "unknown study" not in line and "Choices" not in line
    assert cli.code_of(command.main, ["--runs", str(store.root), "--plugins", "mine.py"]) == 0
    assert "unknown" not in capsys.readouterr().err


def test_runs_and_claims_take_the_file_of_a_study(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = ["--study", "mine.py", "--runs", "runs"]
    request = cli.request_of(options_of(*words, "--scale", "smoke"))
    filled(tmp_path / "other", request_of())
    assert cli.code_of(runs.main, ["--study", "mine.py", "--runs", "other"]) == 2
    assert capsys.readouterr().err.endswith("next: python -m harness.ablate mine --plugins mine.py --runs other\n")
    filled(tmp_path / "runs", request)
    assert cli.code_of(runs.main, words) == 0
    assert capsys.readouterr().out.startswith(f"{request.page}\n")
    for command in (runs, claims):
        assert cli.code_of(command.main, [*words, "table5"]) == 2
        assert "are two studies" in capsys.readouterr().err
    assert cli.code_of(claims.main, words) == 0
    assert "about mine" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "module"), [("table4", "ablate"), ("mask_ratio", "sweep")])
def test_a_study_without_runs_is_not_unknown(name, module, tmp_path, capsys):
    store = filled(tmp_path / "runs", request_of())
    assert cli.code_of(runs.main, [name, "--runs", str(store.root)]) == 2
    typed = f"python -m harness.{module} {name} --runs {store.root}"
    assert capsys.readouterr().err == f"error: nothing of {name} was requested in {store.root}; next: {typed}\n"


WRONG = {
    "no Python file": (["--study", "notes.md"], "error: notes.md is not a Python file\n"),
    "a plug-in that is none": (["table5", "--plugins", "notes.md"], "error: notes.md is not a Python file\n"),
    "a folder": (["--study", "folder"], "error: folder is not a Python file, but a folder\n"),
    "nothing": (["--study", "none.py"], "error: none.py is not there: a Python file or a folder of them is needed\n"),
    "syntax": (["--study", "torn.py"], "torn.py cannot be read as Python: line 2: invalid syntax\n"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_line(case, tmp_path, monkeypatch, capsys):
    words, expected = WRONG[case]
    (tmp_path / "notes.md").write_text("# Notes")
    (tmp_path / "torn.py").write_text("x = 1\nstudy = = 2\n")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.code_of(ablate.main, [*words, "--scale", "smoke", "--dry-run"]) == 2
    line = capsys.readouterr().err
    assert line.endswith(expected) and line.count("\n") == 1


def test_our_names_of_modules_are_not_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "notes.md").write_text("# Notes")
    monkeypatch.chdir(tmp_path)
    for source, expected in (
        ("mine.py:Other", "it has no Other; it has Mine"),
        ("notes.md:A", "not a Python file"),
    ):
        assert cli.code_of(benchmark.main, [source, "--scale", "smoke", "--dry-run"]) == 2
        line = capsys.readouterr().err
        assert expected in line and "outside_" not in line


def test_two_plugins_of_one_name_are_one_line(tmp_path, monkeypatch, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = ["same", "--plugins", "a/same.py", "--plugins", "b/same.py", "--scale", "smoke", "--dry-run"]
    assert cli.code_of(ablate.main, words) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("b/same.py: there is a study same already; it is left out")
    assert guests.FOLDERS
