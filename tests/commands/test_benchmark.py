"""The league: a user's file, a published tokenizer of ours and trained rows in one table."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import ablate, benchmark, cli
from harness.data.splits import open_split
from harness.experiments.requests import AblationRequest, OutsideRow, study_called
from harness.experiments.scales import scale
from harness.networks import outside
from harness.planning.task import task
from harness.store.runs import Store
from harness.system.errors import Mistake
from tests.commands.evaluated import crops, saved
from tests.hub.tokenizers import fresh
from tests.stages.few_images import run


def saved_originals(folder: Path) -> np.ndarray:
    """The images that the rows are measured on, as files, from a store that holds the data alone."""
    e = scale("smoke").experiment
    store = Store(folder.with_name("data"))
    run(store, e, "data")
    images = np.asarray(open_split(task("data", e).run_in(store).folder, "val").images)
    saved(folder, images)
    return images


MINE = Path(__file__).parents[1] / "networks/mine.py"


@pytest.mark.slow
def test_a_league_of_ours_a_published_one_and_a_users(tmp_path, capsys):
    folder = tmp_path / "published"
    fresh("titok").save_pretrained(folder)
    words = [f"{MINE}:Pooled", str(folder), "--rows", "KL-VAE,mine.py:Pooled,published", "--scale", "smoke", "--quiet"]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    originals, others = saved_originals(tmp_path / "originals"), crops(20, 32)
    saved(tmp_path / "theirs", originals // 2 + 60)
    saved(tmp_path / "others", others)
    saved(tmp_path / "theirs of others", others // 2 + 60)
    for pair in (("originals", "theirs"), ("others", "theirs of others")):
        words += ["--pair", *(str(tmp_path / folder) for folder in pair)]
    assert benchmark.main(words) == 0
    (csv,) = (tmp_path / "out").glob("*-league.csv")
    table = pd.read_csv(csv)
    pairs = ["theirs (images)", "theirs of others (images)"]
    assert set(table["tokenizer"][:3]) == {"KL-VAE", "mine.py:Pooled", "published"}
    assert list(table["tokenizer"][3:]) == pairs
    by_row = table.set_index("tokenizer")
    reconstruction = [head for head in table if head.startswith(("rFD", "PSNR", "SSIM"))]
    assert len(reconstruction) == 3
    for head in table.columns.drop("tokenizer"):
        for pair, ending in zip(pairs, ("", " (20 other images)"), strict=True):
            assert (by_row.loc[pair, head] == "–") == (head not in reconstruction), head
            assert str(by_row.loc[pair, head]).endswith(ending) or head not in reconstruction
    by_row = by_row.drop(pairs)
    table = table[:3]
    assert by_row.loc["mine.py:Pooled", "latents"] == "4 x 4 x 3"
    assert float(by_row.loc["mine.py:Pooled", "PSNR (dB) ↑"]) > 15  # pooling, without any training
    assert all(float(str(value).split()[0]) > 0 for value in table["gFD ↓"])
    assert list(table["gFD ↓"].astype(str).str.split().str[0].astype(float)) == sorted(
        table["gFD ↓"].astype(str).str.split().str[0].astype(float)
    )
    assert (by_row["encoded images/s"].astype(float) > 0).all()
    assert csv.with_suffix(".html").read_text().startswith("<table") and csv.with_suffix(".md").exists()
    capsys.readouterr()
    assert benchmark.main(words) == 0  # nothing is made again
    printed = capsys.readouterr().out
    assert "| mine.py:Pooled" in printed and len(printed.splitlines()) <= 24
    _, _, module, *again = shlex.split(printed.splitlines()[-1].removeprefix("next: "))
    assert module == "harness.benchmark" and benchmark.main([*again, "--dry-run"]) == 0
    capsys.readouterr()
    (weights,) = (tmp_path / "runs/finetuning").glob("*/weights.safetensors")  # of the only row that is trained
    weights.unlink()
    assert benchmark.main(words) == 0
    speeds = pd.read_csv(csv).set_index("tokenizer")["encoded images/s"]
    assert speeds["KL-VAE"] == "–" and float(speeds["mine.py:Pooled"]) > 0


def test_the_dry_run_needs_no_training(tmp_path, capsys):
    words = [f"{MINE}:Pooled", "--dry-run", "--details", "--runs", str(tmp_path / "runs")]
    assert benchmark.main(words) == 0
    assert "mine.py:Pooled" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing", "nothing: FILE.py:NAME or MODULE:NAME is needed"),
        ("a/mine.py", "a/mine.py: FILE.py:NAME"),
        (f"{MINE}:Raises", "no luck"),
        ("absent.py:Name", "there is no file"),
    ],
)
def test_what_is_no_tokenizer_is_one_line(given, words, tmp_path):
    with pytest.raises(Mistake, match=words) as error:
        benchmark.main([given, "--dry-run", "--runs", str(tmp_path)])
    assert "\n" not in str(error.value)


def test_a_sweep_has_no_tokenizers_from_outside(tmp_path, capsys):
    words = ["kl_weight", "--tokenizer", f"{MINE}:Pooled", "--scale", "smoke", "--runs", str(tmp_path), "--dry-run"]
    assert cli.code_of(ablate.main, words) == 2
    assert capsys.readouterr().err == "error: kl_weight is a sweep: only tables take --tokenizer\n"


def test_two_pairs_of_one_name_are_one_line(tmp_path):
    words = ["--scale", "smoke", "--runs", str(tmp_path / "runs"), "--dry-run"]
    for folder in ("a", "b"):
        for name in ("originals", "theirs"):
            saved(tmp_path / folder / name, crops(20, 32))
        words += ["--pair", *(str(tmp_path / folder / name) for name in ("originals", "theirs"))]
    with pytest.raises(Mistake, match="two folders of --pair are called theirs"):
        benchmark.main(words)
    assert not (tmp_path / "runs").exists()


def test_the_command_names_files_from_the_working_folder(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "here elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
        shutil.copy(MINE, folder)
        fresh("titok").save_pretrained(folder / "published")
    monkeypatch.chdir(here)
    names = ["mine.py:Pooled", "mine.py:Pooled=published", f"{elsewhere}/mine.py:Pooled", "published"]
    shown = [*names[:3], "harness.hub.outside:Pretrained=published"]
    for given, named in zip(names, shown, strict=True):
        source = outside.absolute(given)
        row = OutsideRow(source, 4, 3, None, "0" * 64, 0)
        assert row.from_here == named
        request = AblationRequest("league", study_called("league"), scale("smoke"), tokenizers=(row,))
        assert shlex.join(["--tokenizer", named]) in request.command
        assert row.row.fields["tokenizer.outside.source"] == source
