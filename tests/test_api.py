"""The Python interface: what the commands do, as functions; and the notebook that shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from harness import api
from harness.store.runs import Store
from harness.system.errors import Mistake, Trouble
from tests.conftest import images

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs/notebook.ipynb"
ROW = {"scale": "smoke", "rows": ["mactok"]}


def test_the_package_hands_out_the_interface_and_imports_nothing_heavy_for_it():
    assert set(harness.API) <= set(dir(harness))
    assert all(getattr(harness, name) is getattr(api, name) for name in harness.API)
    with pytest.raises(AttributeError, match="no attribute 'result'"):
        _ = harness.result  # type: ignore[attr-defined]
    code = "import sys, harness; harness.run; sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_wrong_request_is_a_mistake(tmp_path):
    with pytest.raises(Mistake, match="no store at"):
        harness.results("table5", runs=tmp_path / "nowhere")
    with pytest.raises(Mistake, match="Did you mean 'table5'"):
        harness.results("tabel5", runs=tmp_path)
    with pytest.raises(Mistake, match="has no trials of"):
        harness.results("kl_weight", scale="smoke", runs=tmp_path)
    with pytest.raises(Mistake, match="no run 'abc'"):
        harness.load_tokenizer("abc", runs=tmp_path)
    with pytest.raises(Mistake, match="no 'step'"):
        harness.run("table5", scale="smoke", fields={"training.step": 3}, runs=tmp_path)
    assert not list(tmp_path.iterdir())


WRONG = {
    "study": (lambda: harness.run(5), "study is 5: text is needed"),
    "rows": (lambda: harness.run("table5", rows="mactok"), "rows is 'mactok': a list of names is needed"),
    "seeds": (lambda: harness.run("table5", seeds="3"), "seeds is '3': a whole number is needed"),
    "number of seeds": (lambda: harness.run("table5", seeds=0), "seeds is 0: at least 1"),
    "fields": (lambda: harness.run("table5", fields=["a"]), "fields is .*: a dictionary of values by field is needed"),
    "scale": (lambda: harness.results("table5", scale=None, runs="."), "."),
    "data": (lambda: harness.run("table5", data=Path("x")), "data is PosixPath.*: text is needed"),
    "runs": (lambda: harness.results("table5", runs=None), "runs is None: a path is needed"),
    "out": (lambda: harness.run("table5", out=3), "out is 3: a path is needed"),
    "option": (lambda: harness.run("table5", "--wrong"), "unrecognized arguments: --wrong"),
    "word": (lambda: harness.run("table5", 3), "options is 3: text is needed"),
    "tokenizer": (lambda: harness.load_tokenizer(3), "name is 3: a path is needed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_sentence_without_our_calls(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, expected = WRONG[case]
    with pytest.raises(Mistake, match=expected) as refused:
        call()
    assert len(refused.traceback) == 3  # this test, the call, and the function that was called
    assert refused.value.__suppress_context__ and "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_what_is_not_finished_has_no_numbers(tmp_path):
    found = harness.results("table5", scale="smoke", runs=tmp_path)
    assert found.empty and tuple(found.columns) == api.COLUMNS


def test_results_are_those_of_the_store(runs):
    found = harness.results("table5", runs=runs, **ROW)
    stored = {run.key: run.records() for run in Store(runs).runs() if run.state == "done"}
    assert len(found) == sum(map(len, stored.values()))
    for line in found.itertuples():
        record = next(
            r for r in stored[line.run] if (r.metric, r.split, r.step) == (line.metric, line.split, line.step)
        )
        assert (line.value, line.N, line.protocol) == (record.value, record.n, record.protocol_id)
    assert set(found.row) == {"+ global alignment"} and set(found.seed) == {0}
    assert found.protocol.str.fullmatch(r"[a-z][a-z0-9-]*-[0-9a-f]{8}").all()
    same = found.groupby("protocol")[["metric", "split", "N"]].nunique()
    assert (same == 1).all(axis=None)


def test_run_does_what_is_missing_and_returns_the_page(runs, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("result.json")}
    page = harness.run("table5", runs=runs, out=tmp_path, **ROW)
    assert page.read_text().startswith("# ") and page.parent == tmp_path
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("result.json")} == before
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_stage_that_fails_is_trouble(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.stages.data.content", lambda folder: 1 / 0)
    with pytest.raises(Trouble, match="table5 is not done"):
        harness.run("table5", runs=tmp_path / "runs", out=tmp_path / "out", **ROW)


def test_a_tokenizer_of_a_run_encodes_and_decodes(runs, tmp_path):
    found = harness.results("table5", runs=runs, **ROW)
    tokenizer = harness.load_tokenizer(found[found.stage == "evaluation"].run.iloc[0], runs=runs)
    x = images(3)
    z = tokenizer.encode(x)
    assert torch.equal(tokenizer.reconstruct(x), tokenizer.decode(z))
    tokenizer.save_pretrained(tmp_path / "published")
    assert torch.equal(harness.load_tokenizer(tmp_path / "published").encode(x), z)
    assert np.isfinite(z.numpy()).all() and z.shape[1:] == tokenizer.config.latents[:2]


# The notebook


def test_the_notebook_was_executed_and_names_no_machine():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not {output.output_type for cell in code for output in cell.outputs} & {"error", "stream"}
    text = NOTEBOOK.read_text()
    assert not [place for place in ("/home/", "/tmp/", str(ROOT), "site-packages", str(Path.home())) if place in text]


@pytest.mark.slow
def test_the_notebook_runs_anywhere(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [len(cell.get("outputs", ())) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [[o for o in cell.get("outputs", ()) if o.get("name") != "stderr"] for cell in notebook.cells]
    assert [len(of_cell) for of_cell in outputs] == stored  # warnings of other packages aside
