"""The command `runs` tells of a store and of the requests that it remembers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import __main__ as listed
from harness import ablate, compare, prune, runs
from harness.execution.executors import inline
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember, remembered_requests
from harness.store.runs import Store
from harness.store.usage import age, usage
from harness.system.errors import Mistake
from harness.system.files import write_json
from reports.ablation import page as ablation
from tests.commands.stores import FOIL, MACTOK, change, filled, keys, make, request_of, states
from tests.commands.test_cli import command

# Commands


def test_every_command_is_listed_and_helps_at_once():
    places = Path(listed.__file__).parent.glob("*.py")
    commands = {f"harness.{path.stem}" for path in places if "cli.run(main)" in path.read_text()} - {"harness.__main__"}
    assert {words.split()[0] for words in listed.COMMANDS} == commands
    started = [subprocess.Popen([sys.executable, "-m", name, "--help"], stdout=-1, text=True) for name in commands]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, process.args
        assert out.startswith("usage: python -m harness.")


@pytest.mark.parametrize("words", [["harness.runs"], ["harness.prune"], ["harness.compare", "0", "1"]])
def test_questions_about_the_store_are_answered_without_torch(words, tmp_path):
    store = filled(tmp_path, request_of())
    make(dataclasses.replace(plan_of(request_of()).tasks[0], key="1" * 16), store)
    make(dataclasses.replace(plan_of(request_of()).tasks[0], key="0" * 16), store)
    words = [w.replace("0", "0" * 16).replace("1", "1" * 16) for w in words]
    done = command(*words, "--runs", str(tmp_path), env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr[-1000:]
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "matplotlib", "pandas", "sklearn", "torch_fidelity"}


# Requests


REQUESTS = {
    "table5-smoke": {"rows": ()},
    "table5-smoke-2e8e1d": {},
    "table5-smoke-embedded": {"data": "embedded"},
    "fields": {"fields": (("masking.max_ratio", "0.5"), ("training.steps", "50"))},
    "quoted": {"rows": ("+ random mask", "KL-VAE")},
}


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_what_was_asked_comes_back(options, tmp_path):
    store, request = Store(tmp_path), request_of(**options)
    remember(request, store)
    (found,) = remembered_requests(store)
    assert found.plan is not None
    assert found.plan.request == request
    assert (found.page, found.study, found.command) == (request.page, "table5", request.command)
    assert abs(found.at - time.time()) < 60


def test_of_the_same_with_several_seeds_the_most_are_remembered(tmp_path):
    store = Store(tmp_path)
    for seeds, most in ((1, 1), (3, 3), (2, 3)):
        remember(request_of(seeds=seeds), store)
        (found,) = remembered_requests(store)
        assert found.plan.request.seeds == most
        assert ("--seeds 3" in found.command) == (most == 3)


TROUBLE = {
    "damaged": (lambda path: path.write_text(path.read_text()[:-9]), "is damaged"),
    "other": (lambda path: write_json(path, ["table5"]), "is damaged"),
    "study": (lambda path: change(path, study="table55"), "unknown study"),
    "scale": (lambda path: change(path, scale="tinny"), "unknown scale"),
    "row": (lambda path: change(path, rows=["maktok"]), "unknown row"),
    "field": (lambda path: change(path, fields=[["tokens.of", "1"]]), "unknown field"),
    "data": (lambda path: change(path, data="folder:/nowhere"), "is not there"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_a_request_that_means_nothing_any_more_is_told_and_keeps_prune_from_guessing(case, tmp_path, capsys, answer):
    damage, why = TROUBLE[case]
    store, page = filled(tmp_path, request_of()), request_of().page
    damage(tmp_path / f"asked/{page}.json")
    before = states(store)
    code = 1 if case in ("damaged", "other") else 0  # a file that cannot be read
    assert runs.main(["--runs", str(tmp_path)]) == code
    shown = capsys.readouterr()
    assert page in shown.err
    assert why in shown.err
    assert ["no", "known", "study", str(len(before))] in [line.split()[:4] for line in shown.out.splitlines()]
    assert runs.main([page, "--runs", str(tmp_path)]) == code
    with pytest.raises(Mistake, match=rf"{why}.*--forget {page}"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert states(store) == before
    assert prune.main(["--runs", str(tmp_path), "--yes", "--forget", page]) == 0
    assert not states(store)
    assert not remembered_requests(store)


def test_ablate_remembers_before_anything_runs_and_nothing_of_mistakes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(inline, "execute", lambda *_: seen.extend(remembered_requests(Store(tmp_path / "runs"))))
    monkeypatch.setattr(ablation, "write", lambda *_: "page")
    words = ["table5", "--scale", "smoke", "--rows", "mactok", "--runs", str(tmp_path / "runs")]
    for mistake in (["--data", "folder:nowhere"], ["--set", "tokens=7"], ["--executor", "lokal"], ["--workers", "0"]):
        with pytest.raises(Mistake):
            ablate.main([*words, *mistake])
    ablate.main([*words, "--dry-run"])
    assert not (tmp_path / "runs").exists()
    ablate.main(words)
    assert [request.command for request in seen] == [request_of().command]


# Runs


def test_an_overview_counts_shared_runs_in_each_and_once_in_the_total(tmp_path, capsys):
    store = filled(tmp_path, request_of(), request_of(FOIL))
    remember(request_of(seeds=2), store)
    strange = make(dataclasses.replace(plan_of(request_of()).tasks[0], key="f" * 16), store)
    shared = keys(request_of()) & keys(request_of(FOIL))
    assert runs.main(["--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    requests = {request["page"]: request for request in found["requests"]}
    assert requests[request_of().page]["done"] == len(keys(request_of()))
    assert requests[request_of().page]["planned"] == len(keys(request_of(seeds=2)))
    other = requests[request_of(FOIL).page]
    assert other["done"] == other["planned"] == len(keys(request_of(FOIL)))
    assert found["no known study"]["runs"] == 1
    assert found["no known study"]["bytes"] == usage(strange.folder).bytes
    assert found["total"]["runs"] == len(keys(request_of()) | keys(request_of(FOIL))) + 1
    assert found["total"]["bytes"] == sum(usage(run.folder).bytes for run in store.runs())
    assert shared
    assert runs.main(["--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "count in each" in text
    assert "no known study" in text


@pytest.mark.parametrize("name", ["table5", request_of().page])
def test_the_runs_of_a_request(name, tmp_path, capsys):
    store = filled(tmp_path, request_of())
    remember(request_of(seeds=2), store)
    assert runs.main([name, "--runs", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert {f"{line['stage']}/{line['key']}" for line in found} == keys(request_of(seeds=2))
    for line in found:
        assert line["rows"] in ("all rows", "+ global alignment seed 0", "+ global alignment seed 1")
        assert line["state"] == store.run(line["stage"], line["key"]).state
        assert (line["bytes"] > 0) == (line["state"] == "done") == (line["written"] is not None)
    assert runs.main([name, "--runs", str(tmp_path)]) == 0
    assert f"{len(keys(request_of()))} of {len(found)} runs are done" in capsys.readouterr().out


MISTAKES = {
    "no store": (runs, ["--runs", "nowhere"], "no store at nowhere"),
    "no store to prune": (prune, ["--runs", "nowhere"], "no store at nowhere"),
    "study": (runs, ["tabel5"], "Did you mean 'table5'"),
    "forgotten": (prune, ["--forget", "tabel5-smoke"], "Did you mean 'table5-smoke"),
    "option": (prune, ["--ye"], "Did you mean '--yes'"),
    "no run": (compare, ["zz", "yy"], "no run 'zz'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path, monkeypatch):
    filled(tmp_path / "runs", request_of())
    monkeypatch.chdir(tmp_path)
    module, words, expected = MISTAKES[case]
    with pytest.raises(Mistake, match=expected):
        module.main(words)


def test_an_empty_store_is_no_mistake_and_has_no_studies(tmp_path, capsys):
    assert runs.main(["--runs", str(tmp_path)]) == 0
    with pytest.raises(Mistake, match="remembers no request"):
        runs.main(["table5", "--runs", str(tmp_path)])


AGES = {0: "0 s", 119: "119 s", 121: "2 min", 7199: "120 min", 7201: "2 h", 2 * 86400 + 5: "2 d", 90 * 86400: "90 d"}


@pytest.mark.parametrize("seconds", AGES)
def test_ages(seconds, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert age(2e9 - seconds) == AGES[seconds]


def test_runs_of_a_study_at_a_scale(tmp_path, capsys):
    store = filled(tmp_path, request_of())
    tiny = AblationRequest("table5", request_of().study, scale("tiny"), rows=MACTOK)
    remember(tiny, store)
    for words, pages in (
        ([], [request_of().page, tiny.page]),
        (["--scale", "smoke"], [request_of().page]),
        (["--scale", "tiny"], [tiny.page]),
    ):
        assert runs.main(["table5", *words, "--runs", str(tmp_path), "--json"]) == 0
        assert sorted(json.loads(capsys.readouterr().out)) == sorted(pages)
    with pytest.raises(Mistake, match="Did you mean 'tiny'"):
        runs.main(["table5", "--scale", "tinny", "--runs", str(tmp_path)])
    with pytest.raises(Mistake, match="remembers no request at small"):
        runs.main(["table5", "--scale", "small", "--runs", str(tmp_path)])
