"""A place that takes no files is one clear line before any work, in every command that writes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from harness import cli
from harness.system import paths
from tests.commands.stores import filled, request_of
from tests.conftest import ROW, save_class

CLOSED = "/proc/none"  # not even root makes anything there
WRITING = {
    "ablate": [*ROW, "--out", CLOSED],
    "ablate, its store": [*ROW, "--runs", CLOSED],
    "everything": ["--scale", "smoke", "--out", CLOSED],
    "sweep": ["mask_ratio", "--scale", "smoke", "--out", CLOSED],
    "benchmark": ["--rows", "KL-VAE", "--scale", "smoke", "--out", CLOSED],
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
