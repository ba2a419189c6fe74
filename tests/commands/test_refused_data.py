"""An image that does not open ends every command in the same sentence, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ablate, cli, sweep
from harness.data.image_files import refusal
from harness.store.runs import Store
from tests.conftest import save_class

IMAGES = 60


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Class folders with one file that is no image."""
    for name in ("cats", "dogs", "owls"):
        save_class(tmp_path / "zoo" / name, IMAGES)
    (tmp_path / "zoo/cats/03.jpg").write_text("no image")
    return tmp_path / "zoo"


@pytest.mark.parametrize("executor", ["inline", "local"])
@pytest.mark.parametrize("command", [ablate, sweep])
def test_data_are_refused_in_one_line_each_time(command, executor, zoo, tmp_path, capfd):
    words = ["--scale", "smoke", "--data", f"folder:{zoo}", "--quiet", "--executor", executor]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    words += ["table5", "--rows", "mactok"] if command is ablate else ["mask_ratio", "--objective", "kl"]
    line = (
        f"error: 1 of {3 * IMAGES} images in {zoo} does not open: cats/03.jpg (not the content of an image). "
        "Replace or remove it, or go on without: --set data.unreadable=skip\n"
    )
    for _ in range(2):
        assert cli.code_of(command.main, words) == 2
        assert capfd.readouterr() == ("", line)
    stages = {run.stage for run in Store(tmp_path / "runs").runs() if run.state == "done"}
    assert stages <= {"guidance"}  # which only reads a setting
    assert not any((tmp_path / "out").iterdir())


def test_the_sentence_has_the_right_numbers():
    assert refusal({"a.png": "torn"}) == "1 image does not open: a.png (torn). Replace or remove it"
    assert refusal({"a.png": "torn"}, 1).startswith("1 of 1 image does not open: ")
    many = {f"{k}.png": "torn" for k in range(9)}
    assert refusal(many, 20, "set").startswith("9 of 20 images in set do not open: 0.png (torn), 1.png (torn), ")
    assert refusal(many).endswith("(torn), ... Replace or remove them")


def test_a_small_folder_is_told_what_is_needed(tmp_path, capsys):
    for name in ("cats", "dogs"):
        save_class(tmp_path / "pets" / name, 30)
    words = ["table5", "--scale", "smoke", "--data", f"folder:{tmp_path / 'pets'}", "--runs", str(tmp_path / "runs")]
    assert cli.code_of(ablate.main, words) == 2
    assert capsys.readouterr().err == (
        "error: val has 6 images, and metrics take at least 16: add images (without the folders train and val, every "
        "tenth image of a class is of val)\n"
    )
