"""The command `tokenize`: a folder of images to latents."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness import tokenize
from harness.data.decoding import read
from harness.hub import tokenizer as hub
from harness.latents import autoencode
from harness.networks import weights
from harness.planning.task import task
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from tests.conftest import MACHINE, SIDE, experiment

pytestmark = pytest.mark.usefixtures("float32")

EXPERIMENT = experiment("mactok")
SHAPE = (EXPERIMENT.tokenizer.tokens, EXPERIMENT.tokenizer.channels)
NAMES = ["00.png", "01.jpg", "02.png", "b/00.png", "b/10.JPG", "b/deep/05.png", "c/03.bmp"]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise and several sizes, at several depths, written in no order."""
    place, random = tmp_path_factory.mktemp("images") / "album", np.random.default_rng(0)
    for i, name in enumerate(reversed(NAMES)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        blocks = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((40 + 30 * i, 90 - 5 * i), Image.Resampling.NEAREST).save(place / name)
    (place / "b/.hidden.png").write_text("no image")
    (place / "b/notes.txt").write_text("no image")
    return place


def run_of(runs: Path, stage: str) -> Run:
    return task(stage, EXPERIMENT).run_in(Store(runs))


def tokenized(runs: Path, folder: Path, out: Path, *words: str, code: int = 0) -> tuple[np.ndarray, dict]:
    """The latents that the command writes, and what it writes beside them."""
    named = [] if "--tokenizer" in words else ["--tokenizer", run_of(runs, "finetuning").key[:9]]
    assert tokenize.main([str(folder), "--runs", str(runs), "--out", str(out), "--quiet", *named, *words]) == code
    found = np.load(out, mmap_mode="r")
    assert isinstance(found, np.memmap)
    about = json.loads(out.with_suffix(".json").read_text())
    assert found.shape == (len(about["names"]), *SHAPE)
    assert found.dtype == np.float32
    assert sorted(out.parent.iterdir()) == sorted([out, out.with_suffix(".json")])
    return found, about


def expected(runs: Path, folder: Path, names: list[str] = NAMES) -> np.ndarray:
    tokenizer = weights.load_tokenizer(EXPERIMENT, run_of(runs, "finetuning"))
    return autoencode.encode(tokenizer, np.stack([read(folder / name, SIDE) for name in names]), MACHINE).mean.numpy()


@pytest.mark.parametrize("batch", [128, 3, 1])
def test_latents_are_those_of_the_images_in_the_order_of_their_names(batch, runs, album, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencode, "BATCH", batch)
    found, about = tokenized(runs, album, tmp_path / "latents.npy")
    assert about["names"] == NAMES
    wanted = expected(runs, album)
    assert np.abs(wanted[:, None] - wanted[None]).max((2, 3))[~np.eye(len(NAMES), dtype=bool)].min() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    if batch == 128:
        assert np.array_equal(found, wanted)


def test_what_is_written_beside_says_where_latents_come_from(runs, album, tmp_path, capsys):
    _, about = tokenized(runs, album, tmp_path / "latents.npy")
    run = run_of(runs, "finetuning")
    checksum = hub.PretrainedTokenizer.of_run(Store(runs), run).weights_sha256
    del about["names"]
    assert about == {
        "folder": "album",
        "tokenizer": f"finetuning {run.key}",
        "weights_sha256": checksum,
        "image_size": SIDE,
        "crop": "center",
        "latents": "mode",
        "machine": str(MACHINE),
        "passed_over": {"ending in .txt": 1, "hidden": 1},
    }
    said = f"{len(NAMES)} images, centre-cropped to {SIDE} px, from the posterior's mode: {tmp_path / 'latents.npy'}\n"
    passed_over = f"passed over in {album}: 1 ending in .txt (b/notes.txt), 1 hidden (b/.hidden.png)\n"
    assert capsys.readouterr() == (said, passed_over)


def test_a_published_folder_serves_without_a_store(runs, album, tmp_path):
    made = hub.PretrainedTokenizer.of_run(Store(runs), run_of(runs, "finetuning"))
    made.save_pretrained(tmp_path / "mactok")
    (tmp_path / "out").mkdir()
    words = ["--tokenizer", str(tmp_path / "mactok")]
    found, about = tokenized(tmp_path / "nowhere", album, tmp_path / "out/latents.npy", *words)
    assert np.array_equal(found, expected(runs, album))
    assert about["tokenizer"] == f"pretrained {tmp_path / 'mactok'}"
    assert about["weights_sha256"] == made.weights_sha256


def test_a_name_with_a_slash_is_asked_of_the_hub(runs, album, tmp_path, monkeypatch):
    made = hub.PretrainedTokenizer.of_run(Store(runs), run_of(runs, "finetuning"))
    asked = []
    monkeypatch.setattr(hub.PretrainedTokenizer, "from_pretrained", lambda name: asked.append(name) or made)
    _, about = tokenized(tmp_path / "nowhere", album, tmp_path / "latents.npy", "--tokenizer", "owner/name")
    assert asked == ["owner/name"]
    assert about["tokenizer"] == "pretrained owner/name"


def test_a_sample_depends_on_the_name_of_the_image_alone(runs, album, tmp_path):
    few = tmp_path / "few"
    for name in NAMES[2:4]:
        (few / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(album / name, few / name)
    outs = [tmp_path / str(k) / "latents.npy" for k in range(3)]
    for out in outs:
        out.parent.mkdir()
    (first, about), (again, _) = (tokenized(runs, album, out, "--sample") for out in outs[:2])
    of_few, _ = tokenized(runs, few, outs[2], "--sample")
    assert about["latents"] == "sample"
    assert np.array_equal(first, again)
    np.testing.assert_allclose(of_few, first[2:4], atol=1e-5)
    tokenizer = weights.load_tokenizer(EXPERIMENT, run_of(runs, "finetuning"))
    posterior = autoencode.encode(tokenizer, np.stack([read(album / name, SIDE) for name in NAMES]), MACHINE)
    noise = (torch.from_numpy(np.array(first)) - posterior.mean) / (posterior.log_variance / 2).exp()
    assert abs(noise.mean().item()) < 0.3
    assert noise.std().item() == pytest.approx(1, abs=0.2)
    apart = (noise[:, None] - noise[None]).abs().amax((2, 3))
    assert apart[~torch.eye(len(NAMES), dtype=torch.bool)].min() > 0.5


@pytest.fixture
def torn(album: Path, tmp_path: Path) -> Path:
    """Twelve images, one of which is cut off and two of which are none."""
    place = tmp_path / "torn"
    shutil.copytree(album, place)
    for name in ("b/words.png", "zero.png"):
        (place / name).write_text("no image")
    whole = (album / NAMES[0]).read_bytes()
    (place / "b/cut.png").write_bytes(whole[: len(whole) // 2])
    for k in range(2):
        shutil.copy(album / NAMES[0], place / f"more{k}.png")
    return place


@pytest.mark.parametrize("batch", [128, 2, 1])
def test_images_that_do_not_open_are_refused_all_at_once(batch, runs, torn, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencode, "BATCH", batch)
    (tmp_path / "out").mkdir()
    with pytest.raises(Mistake) as refused:
        tokenized(runs, torn, tmp_path / "out/latents.npy")
    assert str(refused.value) == (
        f"3 of 12 images in {torn} do not open: b/cut.png (damaged or cut off), b/words.png (not the content of an "
        "image), zero.png (not the content of an image). Replace or remove them"
    )
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupted_command_leaves_nothing(runs, album, tmp_path, monkeypatch):
    encode, calls = autoencode.encode, []

    def interrupted(*given: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            assert len(list(tmp_path.iterdir())) == 1  # what there is so far
            raise KeyboardInterrupt
        return encode(*given)

    monkeypatch.setattr(autoencode, "BATCH", 2)
    monkeypatch.setattr(autoencode, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokenized(runs, album, tmp_path / "latents.npy")
    assert not list(tmp_path.iterdir())


def test_images_are_in_memory_batch_by_batch(album, monkeypatch):
    opened = []
    monkeypatch.setattr(tokenize, "read", lambda path, side, crop: opened.append(path) or read(path, side, crop))
    monkeypatch.setattr(autoencode, "BATCH", 2)
    paths = [album / name for name in NAMES]
    for k, (batch, pixels) in enumerate(tokenize.batches(paths, SIDE)):
        assert list(batch) == paths[2 * k : 2 * k + 2]
        assert [image.shape for image in pixels] == [(SIDE, SIDE, 3)] * len(batch)
        assert len(opened) <= 2 * (k + 2)  # one batch ahead
    assert len(opened) == len(NAMES)


def test_a_file_name_that_is_not_unicode_is_kept(runs, album, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "album").mkdir()
    try:
        shutil.copy(album / NAMES[0], tmp_path / "album" / name)
    except OSError:
        pytest.skip("this file system has no such names")
    for k, words in enumerate([[], ["--sample"]]):
        (tmp_path / str(k)).mkdir()
        _, about = tokenized(runs, tmp_path / "album", tmp_path / f"{k}/latents.npy", *words)
        assert about["names"] == [name]


# Mistakes


def mistake(runs: Path, place: Path, *words: str) -> str:
    before = sorted(place.rglob("*"))
    with pytest.raises(Mistake) as error:
        tokenize.main(["--runs", str(runs), *words])
    assert sorted(place.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_not_there_is_refused_in_one_line(runs, album, tmp_path):
    key, out = run_of(runs, "tokenizer").key, str(tmp_path / "new/latents.npy")
    (tmp_path / "empty").mkdir()
    for folder, said in [("absent", "is not a folder"), ("empty", "no images in")]:
        assert said in mistake(runs, tmp_path, str(tmp_path / folder), "--tokenizer", key, "--out", out)
    image = str(album / NAMES[0])
    assert "is not a folder" in mistake(runs, tmp_path, image, "--tokenizer", key, "--out", out)
    cases = {
        "nowhere": "no run 'nowhere'",
        "": "no run ''",
        "a/b/c": "is neither a folder nor a repository of the Hub, which is written OWNER/NAME",
        str(tmp_path / "empty"): "is no pretrained tokenizer: it has no config.json",
    }
    for named, said in cases.items():
        assert said in mistake(runs, tmp_path, str(album), "--tokenizer", named, "--out", out)


def test_nothing_is_written_over(runs, album, tmp_path):
    key = run_of(runs, "tokenizer").key
    for name in ("one.npy", "two.json"):
        (tmp_path / name).write_text("mine")
    for name, there in [("one.npy", "one.npy"), ("two.npy", "two.json")]:
        said = mistake(runs, tmp_path, str(album), "--tokenizer", key, "--out", str(tmp_path / name))
        assert said == f"{tmp_path / there} exists already: choose another file with --out"
    said = mistake(runs, tmp_path, str(album), "--tokenizer", key, "--out", str(tmp_path / "latents.npz"))
    assert "a name that ends in .npy is needed" in said


def test_it_is_a_command_and_a_mistake_is_one_line_and_exit_code_2(runs, album, tmp_path):
    def command(folder: str) -> subprocess.CompletedProcess[str]:
        words = [folder, "--tokenizer", run_of(runs, "tokenizer").key, "--runs", str(runs), "--quiet"]
        entry = [sys.executable, "-m", "harness.tokenize", *words]
        return subprocess.run(entry, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)

    done = command("absent")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent is not a folder: give a folder with images\n"
    assert not list(tmp_path.iterdir())
    done = command(str(album))
    assert done.returncode == 0 and done.stderr.startswith("passed over in ") and done.stderr.count("\n") == 1
    names = ["album-latents.json", "album-latents.npy"]
    assert sorted(path.name for path in (tmp_path / "reports/out").iterdir()) == names
