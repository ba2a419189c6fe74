"""A place that takes no files is one clear line before any work, in every command that writes."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from harness import cli
from harness.system import paths
from harness.system.files import write_text
from tests.commands.stores import filled, request_of
from tests.conftest import ROW, save_class

CLOSED = "/proc/none"  # not even root makes anything there
WRITING = {
    "ablate": [*ROW, "--out", CLOSED],
    "ablate, its store": [*ROW, "--runs", CLOSED],
    "ablate, dry": [*ROW, "--dry-run", "--out", CLOSED],
    "everything": ["--scale", "smoke", "--out", CLOSED],
    "everything, dry": ["--scale", "smoke", "--dry-run", "--runs", CLOSED],
    "sweep": ["mask_ratio", "--scale", "smoke", "--out", CLOSED],
    "sweep, dry": ["mask_ratio", "--scale", "smoke", "--dry-run", "--runs", CLOSED],
    "benchmark": ["--rows", "KL-VAE", "--scale", "smoke", "--out", CLOSED],
    "benchmark, dry": ["--rows", "KL-VAE", "--scale", "smoke", "--dry-run", "--out", CLOSED],
    "report": [*ROW, "--out", CLOSED],
    "report, the index": ["--index", "--out", "pages"],
    "runs --export": ["{page}", "--export", CLOSED],
    "runs --tensorboard": ["{page}", "--tensorboard", CLOSED],
    "runs --take": ["--take", "none", "--runs", CLOSED],
    "publish": ["--run", "{tokenizer}", "--out", CLOSED],
    "publish, deeper": ["--run", "{tokenizer}", "--out", f"{CLOSED}/deeper"],
    "convert": ["none", "--from", "kl", "--to", CLOSED],
    "tokenize": ["pictures", "--tokenizer", "{tokenizer}", "--out", f"{CLOSED}.npy"],
    "reconstruct": ["pictures", "--run", "{tokenizer}", "--out", CLOSED],
    "generate": ["--run", "{generation}", "--out", CLOSED],
    "generate --npz": ["--run", "{generation}", "--npz", f"{CLOSED}.npz"],
    "evaluate": ["pictures", "--reference", "pictures", "--save-npz", f"{CLOSED}.npz"],
    "bench": ["--save", CLOSED],
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs the folder /proc")
@pytest.mark.parametrize("case", WRITING)
def test_what_cannot_be_written_is_one_line_before_any_work(case, tmp_path, monkeypatch, capsys):
    request = request_of()
    store = filled(tmp_path / "store", request)
    named = {run.stage: run.key for run in store.runs()} | {"page": request.page}
    monkeypatch.chdir(tmp_path)
    save_class(tmp_path / "pictures", 2)
    (tmp_path / "pages").symlink_to("/proc")
    monkeypatch.setattr("reports.pages.index.pages", lambda out: [out / "page.md"])
    command, _, _ = case.replace(",", " ").partition(" ")
    words = [word.format(**named) for word in WRITING[case]]
    words += [] if "--runs" in words or command == "convert" else ["--runs", str(store.root)]
    before = sorted(tmp_path.rglob("*"))
    code = cli.code_of(importlib.import_module(f"harness.{command}").main, words)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert code == 2, line
    assert "cannot be written: /proc takes no files" in line or "pages takes no files" in line
    assert sorted(tmp_path.rglob("*")) == before


LONG = "n" * 300
TOO_LONG = {
    **{command: [*ROW, "--dry-run", "--out", LONG] for command in ("ablate", "everything", "report")},
    "ablate, its store": [*ROW, "--dry-run", "--runs", LONG],
    "ablate, its data": [*ROW, "--data", f"folder:{LONG}"],
    "ablate, its plug-ins": [*ROW, "--plugins", LONG],
    "ablate, its study": ["--study", LONG],
    "ablate, its cluster": [*ROW, "--cluster", LONG],
    "ablate, deeper": [*ROW, "--out", "deeper/" * 1000],
    "sweep": ["mask_ratio", "--scale", "smoke", "--storage", LONG],
    "runs": ["--runs", LONG],
    "tokenize": ["pictures", "--tokenizer", "none", "--out", f"{LONG}.npy"],
    "reconstruct": [LONG, "--run", "none"],
    "generate": ["--run", "none", "--npz", LONG],
    "evaluate": ["pictures", "--reference", LONG],
    "publish": ["--run", "none", "--out", LONG],
    "convert": ["none", "--from", "kl", "--to", LONG],
    "bench": ["--save", LONG],
}


@pytest.mark.parametrize("case", TOO_LONG)
def test_a_name_that_is_too_long_is_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command, _, _ = case.partition(",")
    code = cli.code_of(importlib.import_module(f"harness.{command}").main, TOO_LONG[case])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and "bytes: at most" in line and len(line) < 200
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("letter", ["n", "\u00fc", "\U0001f600", "\udcff"])
def test_a_name_is_shortened_to_what_a_disk_takes(letter, tmp_path):
    assert paths.short_name("0008-cat", ".png") == "0008-cat.png"
    name = paths.short_name(f"0008-{letter * 255}", ".png")
    assert name.startswith(f"0008-{letter}") and name.endswith(f"{letter}.png")
    size = len(os.fsencode(letter))
    assert paths.NAME_BYTES - size < len(os.fsencode(name)) <= paths.NAME_BYTES
    (tmp_path / name).touch()


def test_a_file_of_the_longest_name_is_replaced(tmp_path):
    longest = tmp_path / ("n" * (paths.NAME_BYTES - 4) + ".txt")
    write_text(longest, "whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_check_leaves_nothing(tmp_path):
    paths.require_writable(tmp_path, tmp_path / "new/deeper")
    assert not any(tmp_path.iterdir())


def test_rights_that_are_missing_are_told(tmp_path, monkeypatch):
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(paths.tempfile, "TemporaryFile", refused)
    with pytest.raises(paths.Mistake, match=r"new cannot be written: .* takes no files .Permission denied"):
        paths.require_writable(tmp_path / "new")


def test_a_full_disk_is_no_mistake(tmp_path, monkeypatch):
    def full(**_: object) -> None:
        raise OSError(paths.FULL[0], "No space left on device")

    monkeypatch.setattr(paths.tempfile, "TemporaryFile", full)
    paths.require_writable(tmp_path / "new")
