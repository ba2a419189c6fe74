"""The last lines of a command: the answer in one sentence, the page, and what to type next."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import ablate, cli, report
from harness.__main__ import NAMES
from harness.experiments.requests import SweepRequest, new_request
from harness.experiments.scales import SCALES, scale
from harness.store.runs import Store
from reports.ablation.page import Page
from reports.results import load
from tests.commands.stores import filled, request_of

ROOT = Path(__file__).resolve().parents[2]
ROW = ["table5", "--scale", "smoke", "--rows", "mactok"]


def options_of(*words: str) -> argparse.Namespace:
    parser = cli.parser("ablate")
    cli.add_study(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["table5", "mask_ratio"])
@pytest.mark.parametrize("runs", ["runs", "/else where/runs"])
@pytest.mark.parametrize("at", SCALES)
def test_what_to_type_next_is_a_command_that_means_the_same(name, seeds, runs, at):
    options = options_of(name, "--scale", at, "--seeds", str(seeds), "--runs", runs)
    request = new_request(name, scale(at), seeds=seeds)
    _, _, module, *words = shlex.split(cli.next_of(request, options))
    if seeds < 3 or at == "smoke":
        assert module == ("harness.sweep" if isinstance(request, SweepRequest) else "harness.ablate")
        again = options_of(*words)
        further = ("tiny", seeds) if at == "smoke" else (at, 3)  # first numbers that mean something, then intervals
        assert (again.study, again.scale, again.seeds, str(again.runs)) == (name, *further, runs)
    else:
        assert module == "harness.claims"
        assert words[:3] == [name, "--scale", at]
    retried = shlex.split(cli.next_of(request, options, failed=True))
    assert retried[-2:] == ["--retry", "failed"]


def test_the_next_scale_is_the_first_whose_numbers_mean_something(monkeypatch):
    known = dataclasses.replace(scale("tiny"), meaningless=True)
    monkeypatch.setitem(SCALES, "tiny", known)
    request = new_request("table5", known, rows=("mactok",), fields=(("training.steps", "900"),))
    assert cli.next_of(request, options_of("table5")) == (
        "python -m harness.ablate table5 --scale gpu --rows mactok --set training.steps=900"
    )


@pytest.mark.parametrize("module", ["harness", "harness.ablate", "harness.generate"])
def test_an_interruption_while_a_command_is_imported_is_one_line(module, tmp_path):
    (tmp_path / "tabulate.py").write_text("raise KeyboardInterrupt\n")
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", module, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "interrupted\n")


def test_only_what_goes_on_says_that_it_does(capsys):
    def ended(command: Callable[[Sequence[str]], int]) -> str:
        with pytest.raises(SystemExit) as end:
            cli.run(command)
        assert end.value.code == 130
        return capsys.readouterr().err

    def interrupted(arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert ended(interrupted) == "interrupted\n"
    assert ended(cli.going_on()(interrupted)) == "interrupted: the same command goes on from here\n"
    assert {name for name in NAMES if "going_on" in (ROOT / f"harness/{name}.py").read_text()} == {
        "ablate",
        "everything",
        "sweep",
        "benchmark",
    }


def last_lines(text: str) -> tuple[str, str, str]:
    answer, page, following = text.splitlines()[-3:]
    return answer, page, following


@pytest.mark.parametrize("columns", ["80", ""])
def test_a_report_ends_with_answer_page_and_next(columns, runs: Path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    words = [*ROW, "--runs", str(runs), "--out", str(tmp_path)]
    assert report.main(words) == 0
    text = capsys.readouterr().out
    request = request_of()
    answer, page, following = last_lines(text)
    assert answer == Page(request, load(request.experiments(), Store(runs))).answer[0].replace("**", "")
    assert Path(page) == tmp_path / f"{request.page}.md" and Path(page).exists()
    assert following == (
        f"next: python -m harness.ablate table5 --scale tiny --rows mactok --runs {runs} --out {tmp_path}"
    )
    if columns:
        tables = [block for block in text.split("\n\n") if "---" in block]
        assert len(tables) == 1
        assert max(len(line) for block in tables for line in block.splitlines()) <= int(columns)


def test_a_page_has_other_forms(runs: Path, tmp_path, capsys):
    words = ["--runs", str(runs), "--out", str(tmp_path)]
    assert report.main([*ROW, *words, "--html", "--latex", "--csv"]) == 0
    page = request_of().page
    printed = capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.html")} == {"index.html", f"{page}.html"}
    assert str(tmp_path / "index.html") in printed
    assert str(tmp_path / page / "tables") in printed
    pictures = {path.stem for path in (tmp_path / page).glob("*.png")}
    assert pictures == {path.stem for path in (tmp_path / page).glob("*.pdf")} != set()
    tables = {path.stem for path in (tmp_path / page / "tables").glob("*.csv")}
    assert "results" in tables
    assert tables == {path.stem for path in (tmp_path / page / "tables").glob("*.tex")}
    for path in tmp_path.glob("*.html"):
        for target in re.findall(r'(?:href|src)="(?!https:)([^"#]+)"', path.read_text()):
            assert (tmp_path / target).exists(), target
    (tmp_path / "index.md").unlink()
    assert report.main(["--index", *words]) == 0
    assert page in (tmp_path / "index.md").read_text()
    assert cli.code_of(report.main, ["--index", "--out", str(tmp_path / "none")]) == 2
    assert cli.code_of(report.main, ["table5", "--index", *words]) == 2


def test_a_plan_ends_with_the_command_that_runs_it(tmp_path, capsys):
    assert ablate.main([*ROW, "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: python -m harness.ablate {' '.join(ROW)} --runs {tmp_path / 'runs'}"


def test_what_is_not_there_names_the_command(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    for words in (ROW, ["mask_ratio", "--scale", "smoke"]):
        code = cli.code_of(report.main, [*words, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
        assert code == 2
        (line,) = capsys.readouterr().err.splitlines()
        kind = "sweep" if words[0] == "mask_ratio" else "ablate"
        places = f"--runs {tmp_path / 'runs'} --out {tmp_path / 'out'}"
        assert line.endswith(f"next: python -m harness.{kind} {' '.join(words)} {places}")
        assert not (tmp_path / "out").exists()


def test_data_of_another_study_is_nothing_of_this_one(runs: Path, tmp_path, capsys):
    other = ["table5", "--scale", "smoke", "--rows", "KL-VAE", "--runs", str(runs), "--out", str(tmp_path / "out")]
    assert cli.code_of(report.main, other) == 2
    assert "nothing of table5-smoke" in capsys.readouterr().err


def test_a_reader_that_leaves_is_silent(monkeypatch, capsys):
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return False

        def fileno(self) -> int:
            return 2

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "argv", ["harness.ablate", "--list"])
    monkeypatch.setattr("os.dup2", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.run(ablate.main)
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""


PRINTING = {
    "": [],
    "ablate": ["--list"],
    "ablate --fields": ["--fields"],
    "ablate --dry-run": ["table5", "--scale", "smoke", "--dry-run", "--details"],
    "bench": ["--help"],
    "claims": ["table5", "--scale", "smoke", "--details", "--runs", "store"],
    "runs": ["--runs", "store"],
    "status": ["--runs", "store", "--details"],
}


@pytest.mark.parametrize("case", PRINTING)
def test_a_command_before_head_ends_in_silence(case, tmp_path):
    filled(tmp_path / "store", request_of())
    module = ".".join(filter(None, ["harness", case.partition(" ")[0]]))
    read, write = os.pipe()
    os.close(read)  # the reader has left before the first line
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", module, *PRINTING[case]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode in (0, 141)
    assert done.stderr == ""
