"""All studies by one command."""

from __future__ import annotations

import argparse
import re

import pytest

from harness import ablate, everything, sweep
from harness.execution.executors import inline
from harness.planning.task import Task
from harness.system.errors import Mistake
from harness.system.plugins import names

EVERY = [name for name in names("ablations") if name != "own"]


def is_table(text: str) -> bool:
    return text.startswith("study")


@pytest.mark.parametrize("scale", ["smoke", "paper256"])
def test_a_plan_names_every_study_once_with_its_price(scale, tmp_path, capsys):
    assert ablate.main(["all", "--dry-run", "--scale", scale, "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in next(filter(is_table, out.split("\n\n"))).splitlines()[2:]]
    assert sorted(line[0] for line in lines) == sorted(EVERY)
    assert all(int(line[2]) == int(line[1]) > 0 for line in lines)  # nothing is there yet
    assert "stages to run" in out
    (planned,) = re.findall(r"of (\d+) stages to run", out)
    assert int(planned) < sum(int(line[1]) for line in lines)  # studies share
    assert not list(tmp_path.iterdir())


def test_stages_run_as_one_list_and_then_each_study_by_its_own_command(monkeypatch, tmp_path, capsys):
    ran: list[str] = []
    lists: list[list[Task]] = []

    def fake(words: list[str]) -> int:
        ran.append(words[0])
        assert "--runs" in words and "all" not in words
        if words[0] == "table5":
            raise Mistake("made up")
        return 1 if words[0] == "table4" else 0

    monkeypatch.setattr(ablate, "main", fake)
    monkeypatch.setattr(sweep, "main", fake)
    monkeypatch.setattr(inline, "execute", lambda demand, store, options: lists.append(demand.wanted()))
    out = tmp_path / "out"
    code = everything.main(["all", "--scale", "smoke", "--runs", str(tmp_path / "runs"), "--out", str(out)])
    assert code == 1
    assert sorted(ran) == sorted(EVERY)
    printed, errors = capsys.readouterr()
    assert printed.splitlines()[-1].startswith("next: python -m harness.everything --scale tiny --runs ")
    assert "error: made up" in errors
    assert "table4: not all of it is done" in errors and "table5: not all of it is done" in errors
    assert "table6b: not" not in errors
    (stages,) = lists
    assert len(stages) == len(set(stages))
    assert all(needed in stages[: stages.index(t)] for t in stages for needed in t.inputs.values())
    before = {path.stem for path in (tmp_path / "runs" / "asked").iterdir()}  # an interrupted command loses no request
    assert any(name.startswith("table5-") for name in before) and any(name.startswith("kl_weight-") for name in before)
    assert not any(name.startswith("mask_and_mix") for name in before)  # its points depend on earlier ones
    assert (out / "index.md").read_text().startswith("# All pages")


@pytest.mark.parametrize("words", [["all", "--rows", "mactok"], ["all", "table5"]])
def test_all_studies_run_with_all_their_rows(words):
    with pytest.raises(Mistake):
        ablate.main([*words, "--dry-run"])


def test_the_defaults_of_sweeps_are_those_of_their_command(monkeypatch):
    seen: list[argparse.Namespace] = []

    def stop(options: argparse.Namespace) -> None:
        seen.append(options)
        raise Mistake("enough")

    monkeypatch.setattr(sweep, "request_of", stop)
    with pytest.raises(Mistake, match="enough"):
        sweep.main(["mask_ratio"])
    assert {name: getattr(seen[0], name) for name in sweep.DEFAULTS} == sweep.DEFAULTS


def test_what_one_study_cannot_have_keeps_no_other(tmp_path, capsys):
    words = ["--dry-run", "--scale", "smoke", "--runs", str(tmp_path), "--set", "tokenizer.masking.per=batch"]
    assert everything.main(words) == 0
    told = capsys.readouterr()
    assert "fig11 is left out: tokenizer.masking.per has no influence" in told.err
    assert "table5 " in told.out and "fig11 " not in told.out


def test_a_misspelt_scale_is_one_mistake(tmp_path, capsys):
    with pytest.raises(Mistake, match=r"unknown scale 'smok'\. Did you mean 'smoke'"):
        everything.main(["--scale", "smok", "--dry-run", "--runs", str(tmp_path)])
    assert not any(capsys.readouterr())
