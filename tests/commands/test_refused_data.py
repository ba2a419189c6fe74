"""An image that does not open ends every command in the same sentence, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ablate, cancel, claims, cli, everything, report, status, sweep
from harness.data import trial
from harness.data.image_files import refusal
from harness.experiments.requests import new_request
from harness.experiments.scales import scale
from harness.planning.plan import opened_data
from harness.planning.task import task
from harness.store.runs import Store
from tests.commands.stores import make
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


@pytest.mark.parametrize("command", [ablate, sweep, everything])
def test_a_plan_is_refused_like_the_run(command, zoo, tmp_path, capfd):
    words = ["--scale", "smoke", "--data", f"folder:{zoo}", "--runs", str(tmp_path / "runs"), "--dry-run"]
    words = {ablate: ["table5"], sweep: ["mask_ratio"], everything: []}[command] + words
    assert cli.code_of(command.main, words) == 2
    said = capfd.readouterr()
    assert said.out == "" and f"1 of {3 * IMAGES} images in {zoo} does not open: cats/03.jpg" in said.err
    assert cli.code_of(command.main, [*words, "--set", "data.unreadable=skip"]) == 0
    said = capfd.readouterr()
    assert "stages to run" in said.out and "warning: left out, 1 of" in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--data={}", "--set=evaluation.transfer={}"])
@pytest.mark.parametrize("command", [ablate, sweep, everything, report, status, cancel, claims])
def test_a_path_that_is_typed_has_to_be_there(command, option, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    words = [] if command is everything else ["mask_ratio" if command is sweep else "table5"]
    words += ["--runs", str(tmp_path / "runs")]
    for name in ("folder", "imagenet", "webdataset"):
        typed = option.format(f"{name}:{tmp_path / 'zo'}")
        for more in ([], ["--dry-run"] if command in (ablate, sweep, everything) else []):
            assert cli.code_of(command.main, [*words, typed, *more]) == 2
            assert capsys.readouterr() == ("", f"error: data set {name}: {tmp_path / 'zo'} is not there\n")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_plan_says_how_many_images_it_could_open(zoo, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.0)
    words = ["table5", "--scale", "smoke", "--data", f"folder:{zoo}", "--runs", str(tmp_path / "runs"), "--dry-run"]
    assert cli.code_of(ablate.main, words) == 2  # what is no image is small, and small files come first
    assert f"error: 1 image in {zoo} does not open: cats/03.jpg" in capfd.readouterr().err
    (zoo / "cats/03.jpg").unlink()
    assert cli.code_of(ablate.main, words) == 0
    first, all_of_them = trial.CHUNK_IMAGES, 3 * IMAGES - 1
    told = f"In 0 s the {first} smallest of the {all_of_them} images of folder:{zoo} were opened; the run opens all."
    assert capfd.readouterr().out.splitlines()[0] == told
    monkeypatch.setattr(trial, "SECONDS", 100.0)
    assert cli.code_of(ablate.main, words) == 0
    assert "opened" not in capfd.readouterr().out


def test_data_that_are_there_already_are_not_opened_again(zoo, tmp_path, monkeypatch):
    request = new_request("table5", scale("smoke"), data=f"folder:{zoo}", rows=("mactok",))
    monkeypatch.setattr(trial, "opened", lambda data: pytest.fail(f"opened {data}"))
    store = Store(tmp_path / "runs")
    with pytest.raises(pytest.fail.Exception):
        opened_data([request], store)
    make(task("data", request.experiment(request.chosen_rows()[0])), store)
    assert opened_data([request], store) == []


def test_the_sentence_has_the_right_numbers():
    assert refusal({"a.png": "torn"}) == "1 image does not open: a.png (torn). Replace or remove it"
    assert refusal({"a.png": "torn"}, 1).startswith("1 of 1 image does not open: ")
    many = {f"{k}.png": "torn" for k in range(9)}
    assert refusal(many, 20, "set").startswith("9 of 20 images in set do not open: 0.png (torn), 1.png (torn), ")
    assert refusal(many).endswith("4.png (torn) and 4 more. Replace or remove them")


def test_a_small_folder_is_told_what_is_needed(tmp_path, capsys):
    for name in ("cats", "dogs"):
        save_class(tmp_path / "pets" / name, 30)
    words = ["table5", "--scale", "smoke", "--data", f"folder:{tmp_path / 'pets'}", "--runs", str(tmp_path / "runs")]
    assert cli.code_of(ablate.main, words) == 2
    assert capsys.readouterr().err == (
        "error: val has 6 images, and metrics take at least 16: add images (without the folders train and val, every "
        "tenth image of a class is of val)\n"
    )
