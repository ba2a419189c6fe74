"""The command after `next:` can be typed as it is: it has all that the user gave."""

from __future__ import annotations

import argparse
import shlex

import pytest

from harness import ablate, claims, cli, everything, report
from harness.__main__ import main
from harness.experiments.requests import new_request
from harness.experiments.scales import SCALES, scale
from tests.commands.stores import filled, request_of

OWN = '''"""Mine."""
from ablations.table5 import study as published
from harness.experiments.study import Ablation
study = Ablation("Mine", "?", rows=published.rows[:2])
'''


def options_of(*words: str) -> argparse.Namespace:
    parser = cli.parser("ablate")
    cli.add_study(parser)
    cli.add_execution(parser)
    cli.add_growth(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("seeds", [1, 3])
def test_all_that_was_given_is_in_the_next_command(seeds, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    given = ["--study", "mine.py", "--scale", "tiny", "--data", "embedded:objects=2", "--set", "training.steps=900"]
    options = options_of(*given, "--seeds", str(seeds), "--workers", "2", "--cluster", "mine.toml", "--yes")
    request = cli.request_of(options)
    _, _, module, *words = shlex.split(cli.next_of(request, options))
    pairs = list(zip(words, [*words[1:], ""], strict=True))
    for pair in (
        ("--scale", "tiny"),
        ("--data", "embedded:objects=2"),
        ("--set", "training.steps=900"),
        ("--study" if seeds == 1 else "--plugins", "mine.py"),
    ):
        assert pair in pairs
    if seeds == 1:
        again = options_of(*words)
        assert (again.workers, str(again.cluster), again.yes) == (2, "mine.toml", True)
        assert cli.request_of(again).page == request.page
    else:
        filled(tmp_path / "runs", request)
        assert module == "harness.claims"
        assert claims.main(words) == 0
        assert "There are no claims about mine" in capsys.readouterr().out


def test_claims_are_judged_on_the_fields_that_are_set(tmp_path, capsys):
    steps = (("training.steps", "5"),)
    whole = claims.whole_study("table5", scale("smoke"), None, steps)
    assert whole.fields == steps
    store = filled(tmp_path / "runs", request_of())
    assert cli.code_of(claims.main, ["table5", "--set", "trainning.steps=3", "--runs", str(store.root)]) == 2
    assert "Did you mean 'training'" in capsys.readouterr().err


def test_results_at_another_scale_are_named_with_the_command(tmp_path, capsys):
    store = filled(tmp_path / "runs", request_of())
    places = ["--runs", str(store.root), "--out", str(tmp_path / "out")]
    assert cli.code_of(report.main, ["table5", "--rows", "mactok", *places]) == 2
    line = capsys.readouterr().err
    typed = f"python -m harness.report table5 --scale smoke --rows mactok {' '.join(places)}"
    assert line.endswith(f"but there are results at smoke; next: {typed}\n")
    assert claims.main(["table5", *places[:2]]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"The store {store.root} has no results at scales above smoke for the claims of table5, but there are results "
        "at smoke.",
        f"next: python -m harness.claims table5 --scale smoke {' '.join(places[:2])}",
    ]


def test_nothing_anywhere_names_the_command_that_runs(tmp_path):
    request = new_request("table5", SCALES["tiny"])
    options = options_of("table5", "--runs", str(tmp_path))
    assert str(cli.nothing_of(request, options)).endswith(f"next: {cli.command_of(request, options)}")


@pytest.mark.parametrize("command", [ablate, everything])
def test_a_plan_ends_with_the_command_that_runs_it(command, tmp_path, capsys):
    given = ["--scale", "smoke", "--set", "training.steps=5", "--runs", str(tmp_path), "--workers", "2"]
    words = ["table5", *given] if command is ablate else given
    assert command.main([*words, "--dry-run"]) == 0
    name = command.__name__
    assert capsys.readouterr().out.splitlines()[-1] == f"next: python -m {name} {' '.join(words)}"


def test_the_console_script_proposes_itself(tmp_path, monkeypatch, capsys):
    words = ["ablate", "table5", "--scale", "smoke", "--rows", "KL-VAE", "--dry-run", "--runs", str(tmp_path)]
    for name, begins in (("bin/tokenizer-harness", "tokenizer-harness ablate"), ("x.py", "python -m harness.ablate")):
        monkeypatch.setattr("sys.argv", [name])
        assert main(words) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"next: {begins} table5 --scale smoke")


WRONG = {
    "another kind": ["ablate", "mask_ratio"],
    "nothing has run": ["report", "table5", "--runs", "none"],
    "nothing was requested": ["runs", "table9"],
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["bin/tokenizer-harness", "x.py"])
def test_mistakes_propose_commands_as_they_were_typed(name, case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name])
    filled(tmp_path / "runs", request_of())
    assert cli.code_of(main, WRONG[case]) == 2
    error = capsys.readouterr().err
    assert ("python -m harness." in error, "tokenizer-harness " in error) == (name == "x.py", name != "x.py")
