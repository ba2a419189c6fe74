"""Files that somebody made to do harm: whatever reads them runs nothing, takes no memory, and says one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save

from harness.data.image_sets import open_images
from harness.hub.conversion import converted
from harness.hub.tokenizer import PretrainedTokenizer
from harness.networks import weights
from harness.networks.weight_files import INCEPTION
from harness.store.runs import Damaged, Run
from harness.system.errors import Mistake, Trouble
from harness.system.files import write_json
from harness.training import checkpoints
from tests import hostile
from tests.hub.tokenizers import fresh

MOST_MIB = 100  # bombs unpack to five times as much


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """The folder, and what every reader did with every file of its format, in a process of its own."""
    place = tmp_path_factory.mktemp("hostile")
    hostile.make(place)
    words = [sys.executable, "-W", "error", "-m", "tests.hostile", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    assert done.stderr == ""
    return place, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_every_reader_says_one_line_of_every_hostile_file(tried):
    place, lines = tried
    files = {str(path.relative_to(place)) for kind in hostile.READERS for path in (place / kind).iterdir()}
    assert {line["file"] for line in lines} == files
    for line in lines:
        assert line["error"], line
        assert "\n" not in line["error"], line
        assert len(line["error"]) < 700, line


@pytest.mark.slow
def test_no_hostile_file_takes_memory(tried):
    _, lines = tried
    assert not [line for line in lines if line["mib"] > MOST_MIB]


@pytest.mark.slow
def test_no_hostile_file_runs_or_writes_anything(tried):
    place, _ = tried
    assert {path.name for path in place.iterdir()} == {*hostile.READERS, "work"}
    assert not list(place.rglob(hostile.RAN)) and not list(place.rglob(hostile.MADE))


@pytest.fixture
def endless(tmp_path: Path) -> list[Path]:
    """Links to a device, to a folder and to themselves."""
    links = {"device": "/dev/zero", "folder": tmp_path, "loop": tmp_path / "loop"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    return [tmp_path / name for name in links]


def test_links_to_what_is_no_file_are_not_read(endless, tmp_path):
    fresh().save_pretrained(tmp_path / "published")
    run = Run(tmp_path / "tokenizer/0123")
    run.folder.mkdir(parents=True)
    write_json(run.folder / "result.json", {"records": [], "facts": {}, "files": {"a": {"bytes": 0, "sha256": ""}}})
    for link in endless:
        with pytest.raises(Mistake, match="is not a file"):
            INCEPTION.find(link)
        with pytest.raises(Mistake, match=r"is not there|no images"):
            open_images(link)
        with pytest.raises(Mistake, match=r"neither a file nor a folder|has to have one file of weights"):
            converted(link, "sit")
        (tmp_path / "hub").mkdir()
        (tmp_path / "hub/model.safetensors").symlink_to(link)
        with pytest.raises(Mistake, match="has to have one file of weights"):
            converted(tmp_path / "hub", "sit")
        shutil.rmtree(tmp_path / "hub")
        for name in ("model.safetensors", "config.json"):
            shutil.copytree(tmp_path / "published", tmp_path / "linked")
            (tmp_path / "linked" / name).unlink()
            (tmp_path / "linked" / name).symlink_to(link)
            with pytest.raises(Mistake, match=f"it has no {name}"):
                PretrainedTokenizer.from_pretrained(tmp_path / "linked")
            shutil.rmtree(tmp_path / "linked")
        for name in ("a", "checkpoint.pt"):
            (run.folder / name).symlink_to(link)
        with pytest.raises(Trouble, match="a is gone"):
            run.file("a")
        assert checkpoints._saved(run) is None
        for name in ("a", "checkpoint.pt"):
            (run.folder / name).unlink()


def test_weights_of_a_run_that_are_not_finite_are_damage(tmp_path):
    state = fresh().tokenizer.state_dict()
    next(iter(state.values())).view(-1)[0] = float("inf")
    run = hostile._run(tmp_path, weights.WEIGHTS, save(state))
    with pytest.raises(Damaged, match="has values that are NaN or infinite"):
        weights.load_tokenizer(hostile.EXPERIMENT, run)
