"""The league: a user's file, a published tokenizer of ours and trained rows in one table."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import benchmark, cli, report
from harness.data.splits import open_split
from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import AblationRequest, new_request, study_called
from harness.experiments.scales import scale
from harness.networks import outside
from harness.planning.task import task
from harness.store.runs import Store
from harness.system.errors import Mistake
from reports.league import page as league
from reports.pages.rendering import MEANINGLESS, command_of
from reports.results import load, rows_of
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
def test_a_league_of_ours_a_published_one_and_a_users(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "published"
    fresh("titok").save_pretrained(folder)
    words = [f"{MINE}:Pooled", str(folder), "--rows", "KL-VAE,mine.py:Pooled,published", "--scale", "smoke", "--quiet"]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    monkeypatch.chdir(tmp_path)
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
    told = [head for head in table if head.startswith(("N of ", "protocol of ")) or head == "scale"]
    for head in table.columns.drop(["tokenizer", *told]):
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
    for speed in by_row[list(league.SPEEDS)].to_numpy().flat:
        middle, slowest, fastest = map(float, re.findall(r"\d+", speed))
        assert 0 < slowest <= middle <= fastest
    assert (by_row[league.MEMORY].astype(float) > 50).all()  # torch alone takes more
    assert (by_row["scale"] == "smoke").all() and (by_row["N of rFD ↓"].astype(int) == 128).all()
    assert by_row["protocol of rFD ↓"].str.fullmatch("lite-[0-9a-f]{8}").all()
    _is_a_page(csv.with_suffix(".md"), csv.with_suffix(".html"))
    capsys.readouterr()
    assert benchmark.main(words) == 0  # nothing is made again
    printed = capsys.readouterr().out
    assert "| mine.py:Pooled" in printed and printed.startswith(f"{MEANINGLESS}\n\n| tokenizer")
    assert len(printed.splitlines()) <= 24
    _, _, module, *again = shlex.split(printed.splitlines()[-1].removeprefix("next: "))
    assert module == "harness.benchmark" and benchmark.main([*again, "--dry-run"]) == 0
    capsys.readouterr()
    (weights,) = (tmp_path / "runs/finetuning").glob("*/weights.safetensors")  # of the only row that is trained
    weights.unlink()
    assert benchmark.main(words) == 0
    speeds = pd.read_csv(csv).set_index("tokenizer")["encoded images/s"]
    assert speeds["KL-VAE"] == "–" and speeds["mine.py:Pooled"] != "–"
    assert "The store has no weights of KL-VAE, so no speed." in csv.with_suffix(".md").read_text()


def _is_a_page(page: Path, html: Path) -> None:
    """The league is a page like others: named, explained, narrow, and in the index."""
    text = page.read_text()
    assert text.startswith(f"# The league table of tokenizers (smoke)\n\n> **Note.** {MEANINGLESS}\n")
    command, root = command_of(text), page.parents[1]
    assert command.startswith(f"--scale smoke --rows KL-VAE,mine.py:Pooled,published --tokenizer {MINE}:Pooled")
    assert command.endswith("--pair others 'theirs of others'")
    (unequal,) = [line for line in text.splitlines() if "unequal room" in line]
    assert "unequal room for an image: 32 numbers (KL-VAE, published) to 48 (mine.py:Pooled). " in unequal
    heads = [line for line in text.splitlines() if line.startswith("| tokenizer")]
    assert len(heads) == 3 and heads[0].count("|") - 1 <= league.MOST_COLUMNS
    assert "64 images of 32 px in one batch, median [slowest, fastest] of 9 rounds, on " in text
    assert "N = 128, `lite-" in text and "N = 20, `lite-" in text
    assert f"[The league table of tokenizers (smoke)]({page.name})" in (page.parent / "index.md").read_text()
    assert html.read_text().startswith("<!DOCTYPE html>") and str(root) not in text


def test_tokenizers_with_equal_room_are_told_apart_by_nothing():
    request = new_request("league", scale("smoke"))
    results = load(request.experiments(), Store(Path("absent")))
    by_name = rows_of(results)

    def unequal(*names: str) -> str:
        return league.Page(request, [r for name in names for r in by_name[name]], {}, "", "").unequal

    assert unequal("KL-VAE", "MacTok") == ""


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
    words = ["kl_weight", "--tokenizer", f"{MINE}:Pooled", "--scale", "smoke", "--runs", str(tmp_path)]
    assert cli.code_of(report.main, words) == 2
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
        assert row.row("mine").fields["tokenizer.outside.source"] == source


def test_a_league_names_whom_it_ranks(tmp_path):
    with pytest.raises(Mistake, match="name a TOKENIZER, two folders with --pair, or rows of ours with --rows"):
        benchmark.main(["--scale", "smoke", "--runs", str(tmp_path / "runs")])
    assert not list(tmp_path.iterdir())
