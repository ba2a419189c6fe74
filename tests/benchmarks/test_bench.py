from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import bench
from harness.benchmarks import breakdown, servers, works
from harness.benchmarks.works import WORKS
from harness.experiments.scales import SCALES
from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake
from models.variants import VARIANTS
from tests.conftest import MACHINE, experiment


@pytest.mark.parametrize("name", WORKS)
def test_every_work_can_be_timed(name):
    timed = WORKS[name](experiment("mactok"), MACHINE)
    assert works.seconds(timed.call, 2) > 0
    assert timed.items > 0
    assert timed.dtype in ("float32", "bfloat16")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_decoder_step_of_every_variant_can_be_timed(variant):
    assert WORKS["decoder step"](experiment(variant), MACHINE).call() is not None


@pytest.mark.parametrize("name", SCALES)
def test_a_batch_replaces_that_of_the_scale(name):
    chosen = works.experiment(name, "mactok", 4)
    assert chosen.training.batch_images == chosen.generator.training.batch_images == 4
    assert works.experiment(name, "kl_vae", None).training.batch_images > 4


def committed(monkeypatch: pytest.MonkeyPatch, changes: str) -> None:
    monkeypatch.setattr(bench, "code_version", lambda: {"commit": "0" * 40, "uncommitted": changes})


def test_only_what_a_commit_names_is_saved(tmp_path, monkeypatch):
    committed(monkeypatch, "diff --git a/models/forms.py b/models/forms.py")
    with pytest.raises(Mistake, match="--save: commit the changes"):
        bench.main(["--scale", "smoke", "--works", "latents", "--save", str(tmp_path / "history")])
    assert not list(tmp_path.iterdir())


def test_the_result_is_a_table_and_json(tmp_path, capsys, monkeypatch):
    committed(monkeypatch, "reports/speed/another.json")  # a new file besides the code
    chosen = ["--scale", "smoke", "--works", "generator step,latents", "--save", str(tmp_path)]
    assert bench.main(chosen) == 0
    shown = capsys.readouterr().out
    (saved,) = tmp_path.glob("*-smoke-mactok.json")
    result = json.loads(saved.read_text(encoding="utf-8"))
    lines = result["sections"]["Works"]
    assert [line["work"] for line in lines] == ["generator step", "latents"]
    assert lines[0]["waits"] == 0 and lines[0]["launches"] > 100
    assert all(line["items/s"] > 0 and line["GFLOP/item"] > 0 and 0 < line["% of peak"] < 100 for line in lines)
    assert result["about"]["machine"] and result["about"]["scale"] == "smoke"
    assert saved.with_suffix(".md").read_text(encoding="utf-8") == shown
    assert "| generator step" in shown and "busy" not in shown  # a column of GPUs


def test_the_time_of_a_step_is_split_by_kinds_of_operators():
    (line,) = breakdown.measure(experiment("mactok"), MACHINE, ["tokenizer step"])
    shares = {kind: share for kind, share in line.items() if kind != "work"}
    assert sum(shares.values()) == pytest.approx(100)
    assert all(share >= 0 for kind, share in shares.items() if kind != "host")
    assert shares["matrix products"] > 1 and shares["convolutions"] > 1 and shares["other operators"] < 25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--works", "generator stop"], "Did you mean 'generator step'"),
        (["--scale", "tine"], "Did you mean 'tiny'"),
        (["--variant", "mactoc"], "Did you mean 'mactok'"),
        (["--batch", "0"], "at least 1"),
        (["--scale", "smoke", "--against", "no-such-revision"], "no-such-revision"),
    ],
)
def test_mistakes(words, said):
    with pytest.raises(Mistake, match=said):
        bench.main(words)


def test_a_revision_that_cannot_be_timed_is_one_line(monkeypatch):
    def broken(revision: str, folder: Path) -> None:
        (folder / "harness").mkdir()
        (folder / "harness/__init__.py").write_text("raise ImportError('too old')")

    monkeypatch.setattr(servers, "_check_out", broken)
    with pytest.raises(Mistake, match="its code cannot be timed: ImportError: too old"):
        list(servers.against("old", servers.Case("smoke", "mactok", None), ["latents"]))


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="this is no checkout of git")
def test_a_module_that_a_revision_lacks_is_not_taken_from_elsewhere(monkeypatch):
    """An installation in development mode would lend it."""
    whole = servers._check_out

    def without_latents(revision: str, folder: Path) -> None:
        whole(revision, folder)
        (folder / "harness/latents/autoencode.py").unlink()

    monkeypatch.setattr(servers, "_check_out", without_latents)
    (line,) = servers.against("HEAD", servers.Case("smoke", "mactok", None), ["latents"])
    assert "harness.latents.autoencode" in line["not timed"]


@pytest.mark.slow
@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="this is no checkout of git")
def test_a_revision_is_compared_with_itself(capsys):
    words = ["--scale", "smoke", "--works", "generator step,latents", "--against", "HEAD", "--json"]
    assert bench.main(words) == 0
    (lines,) = json.loads(capsys.readouterr().out)["sections"].values()
    for line in lines:
        assert 0.2 < line["from"] <= line["ratio"] <= line["to"] < 5, line
