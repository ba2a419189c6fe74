"""The commands `generate` and `reconstruct` write the pictures of a row."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from harness import generate, reconstruct
from harness.data.sets.folder import read
from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.latents import autoencode
from harness.networks import weights
from harness.planning.task import tasks
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from tests.commands.pictured import EXPERIMENT, Command, run_of
from tests.conftest import MACHINE, SIDE, experiment

pytestmark = pytest.mark.usefixtures("float32")

CLASSES = 10
# After 40 steps all images look alike, whatever the class and the latents; these factors change that.
LOUDER_DECODER = {"decoder.0.proj.weight": 10, "to_pixels.weight": 30}
LOUDER_GENERATOR = {"label.weight": 30, "modulation.weight": 5, "to_velocity.weight": 30}


@pytest.fixture(scope="module")
def store(runs: Path, tmp_path_factory: pytest.TempPathFactory, float32: None) -> Store:
    """The finished row with louder weights, and samples drawn from these. Tests copy it, never change it."""
    made = Store(tmp_path_factory.mktemp("pictures") / "runs")
    shutil.copytree(runs, made.root)
    for stage in ("tokenizer", "finetuning"):
        louder(run_of(made, stage), weights.load_tokenizer(EXPERIMENT, run_of(made, stage)), LOUDER_DECODER)
    network = weights.load_generator(EXPERIMENT, CLASSES, run_of(made, "generator"))
    louder(run_of(made, "generator"), network, LOUDER_GENERATOR)
    for stage in ("samples", "guided_samples"):
        shutil.rmtree(made.root / stage)
    planned = tasks([EXPERIMENT], ("samples", "guided_samples"))
    inline.execute(Fixed(dict.fromkeys(planned, "")), made, Options(quiet=True))
    return made


def louder(run: Run, module: nn.Module, factors: dict[str, float]) -> None:
    for name, parameter in module.named_parameters():
        parameter.data *= next((factor for end, factor in factors.items() if name.endswith(end)), 1)
    weights.save(run, weights.WEIGHTS, module)
    run.finish(run.records(), run.result()["facts"])


def sampled(store: Store, stage: str, decoder: str = "finetuning") -> np.ndarray:
    """The images (n, H, W, 3) of the samples that a stage stored."""
    tokenizer = weights.load_tokenizer(EXPERIMENT, run_of(store, decoder))
    z = torch.from_numpy(np.load(run_of(store, stage).file("samples.npy")))
    return autoencode.decode(tokenizer, z, MACHINE).permute(0, 2, 3, 1).numpy()


def pictures(command: Command, store: Store, out: Path, *words: str, named: Run | None = None) -> dict[str, np.ndarray]:
    """What a command writes, by name, but the overview, which has to be there."""
    key = (named or run_of(store, "generation")).key
    assert command([*words, "--run", key[:8], "--runs", str(store.root), "--out", str(out)]) == 0
    (folder,) = out.iterdir()
    assert all(path.suffix == ".png" for path in folder.iterdir())
    found = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            assert image.format == "PNG"
            found[path.name] = np.asarray(image)
    assert min(found.pop("all.png").shape[:2]) > SIDE
    assert {image.shape for image in found.values()} == {(SIDE, SIDE, 3)}
    return found


def farthest(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# generate


@pytest.mark.parametrize(("words", "stage"), [([], "guided_samples"), (["--cfg", "1"], "samples")])
def test_the_pictures_of_a_class_are_the_samples_of_the_run(words, stage, store, tmp_path, capsys):
    found = pictures(generate.main, store, tmp_path, "--count", "2", *words)
    assert f"{2 * CLASSES} images, seed 0, euler_maruyama, 4 steps" in capsys.readouterr().out
    assert sorted(found) == [f"class{label}-{k}.png" for label in range(CLASSES) for k in range(2)]
    expected = sampled(store, stage)
    for label in range(CLASSES):
        for k in range(2):
            distances = [farthest(found[f"class{label}-{k}.png"], image) for image in expected[:40]]
            assert [i for i, distance in enumerate(distances) if distance <= 2] == [label + k * CLASSES]


def test_guided_pictures_differ_from_those_without_guidance(store):
    pairs = zip(sampled(store, "samples")[:20], sampled(store, "guided_samples")[:20], strict=True)
    assert min(farthest(*pair) for pair in pairs) > 2


@pytest.mark.parametrize(
    "words", [["--seed", "6"], ["--steps", "5"], ["--sampler", "heun"], ["--cfg", "3"], ["--cfg", "1"]]
)
def test_the_same_words_give_the_same_bytes_and_others_give_others(words, store, tmp_path):
    options = ["--classes", "3", "--count", "2", "--seed", "5"]
    first = pictures(generate.main, store, tmp_path / "first", *options)
    again = pictures(generate.main, store, tmp_path / "again", *options)
    other = pictures(generate.main, store, tmp_path / "other", *options, *words)
    assert first.keys() == again.keys() == other.keys() == {"class3-0.png", "class3-1.png"}
    for path in (tmp_path / "first").rglob("class*.png"):
        place = path.relative_to(tmp_path / "first")
        assert path.read_bytes() == (tmp_path / "again" / place).read_bytes()
        assert not (tmp_path / "other" / place).exists()
    assert all(farthest(first[name], other[name]) > 2 for name in first)


@pytest.mark.parametrize(
    ("classes", "labels"), [("time", [4]), ("4", [4]), (" 4 , time,", [4]), ("sky & weather,0", [0, 5])]
)
def test_classes_are_chosen_by_name_or_number(classes, labels, store, tmp_path):
    found = pictures(generate.main, store, tmp_path, "--classes", classes, "--count", "1", "--cfg", "1")
    assert sorted(found) == [f"class{label}-0.png" for label in labels]
    expected = sampled(store, "samples")
    assert all(farthest(found[f"class{label}-0.png"], expected[label]) <= 2 for label in labels)


def made_for(store: Store, place: Path, **fields: object) -> tuple[Store, Run]:
    """A copy of the store with a run of the stage generation for an experiment with other fields."""
    shutil.copytree(store.root, place)
    planned = tasks([experiment("mactok", **fields)], ("generation",))
    inline.execute(Fixed(dict.fromkeys(planned, "")), Store(place), Options(quiet=True))
    return Store(place), planned[-1].run_in(Store(place))


def test_a_run_without_guidance_is_drawn_without(store, tmp_path, capsys):
    made, named = made_for(store, tmp_path / "runs", guidance__on=False)
    found = pictures(generate.main, made, tmp_path / "out", "--classes", "7", "--count", "1", named=named)
    assert "no guidance" in capsys.readouterr().out
    assert farthest(found["class7-0.png"], sampled(store, "samples")[7]) <= 2


@pytest.fixture(scope="module")
def searched(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Run]:
    """A store and a run whose scale of guidance was searched."""
    return made_for(store, tmp_path_factory.mktemp("searched") / "runs", guidance__scales="2,4")


@pytest.mark.parametrize("words", [[], ["--seed", "1"], ["--steps", "3"], ["--sampler", "euler"]])
def test_a_scale_that_was_searched_is_used_whatever_else_is_asked(words, searched, tmp_path, capsys):
    made, named = searched
    pictures(generate.main, made, tmp_path, "--classes", "0", "--count", "1", *words, named=named)
    scale = made.lineage(named)["guidance"].result()["facts"]["guide"]["scale"]
    assert scale in (2, 4)
    assert f"guidance {scale:g} " in capsys.readouterr().out


def test_the_pictures_are_written_as_an_npz_too(store, tmp_path):
    path = tmp_path / "images.npz"
    found = pictures(generate.main, store, tmp_path / "out", "--classes", "0,3", "--count", "2", "--npz", str(path))
    written = np.load(path)["arr_0"]
    assert written.shape[0] == 4
    for image, name in zip(written, ["class0-0.png", "class0-1.png", "class3-0.png", "class3-1.png"], strict=True):
        assert (image == found[name]).all()
    with pytest.raises(Mistake, match="absent does not exist or is not a folder"):
        pictures(generate.main, store, tmp_path / "out", "--npz", str(tmp_path / "absent/images.npz"))


def test_the_overview_shows_no_more_than_ten_pictures_of_a_class(store, tmp_path):
    sides = []
    for count in ("9", "10", "12"):
        out = tmp_path / count
        assert len(pictures(generate.main, store, out, "--classes", "0", "--count", count)) == int(count)
        with Image.open(next(out.rglob("all.png"))) as overview:
            sides.append(overview.width)
    assert sides[0] < sides[1] == sides[2]


def test_every_request_has_a_folder_of_its_own(store, tmp_path):
    run = ["--run", run_of(store, "generation").key[:8], "--runs", str(store.root), "--out", str(tmp_path)]
    for words in (
        ("--classes", "0", "--count", "1"),
        ("--classes", "3", "--count", "1"),
        ("--classes", "0", "--count", "2"),
    ):
        assert generate.main([*words, *run]) == 0
    assert sorted(len(list(folder.glob("class*.png"))) for folder in tmp_path.iterdir()) == [1, 1, 2]


# reconstruct


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["b/two.png"], ["b/two.png"]),
        (["b/two.png", "b/one.png", "a/one.png"], ["b/two.png", "b/one.png", "a/one.png"]),
        (["a"], ["a/deep/three.png", "a/one.png"]),
        (["photographs", "b/one.png"], ["photographs/00.jpg", "photographs/01.PNG", "photographs/02.bmp", "b/one.png"]),
    ],
)
def test_every_image_is_reconstructed_in_order_and_its_psnr_is_told(given, expected, store, album, tmp_path, capsys):
    found = pictures(reconstruct.main, store, tmp_path, *(str(album / path) for path in given))
    assert list(found) == [f"{i:04d}-{Path(path).stem}.png" for i, path in enumerate(expected)]
    printed = capsys.readouterr().out.splitlines()
    originals = np.stack([read(album / path, SIDE) for path in expected])
    decoded = through(store, "finetuning", originals)
    for path, original, name, image in zip(expected, originals, found, found.values(), strict=True):
        nearest = np.abs(decoded.astype(int) - image).sum((1, 2, 3)).argmin()
        assert expected[nearest] == path
        assert farthest(image, decoded[nearest]) <= 1
        (line,) = [line for line in printed if name in line]
        assert str(album / path) in line
        error = np.square(image.astype(float) - original).mean()
        assert float(line.split()[-1]) == pytest.approx(10 * np.log10(255**2 / error), abs=0.006)


def through(store: Store, decoder: str, originals: np.ndarray) -> np.ndarray:
    tokenizer = weights.load_tokenizer(EXPERIMENT, run_of(store, decoder))
    decoded = autoencode.decode(tokenizer, autoencode.encode(tokenizer, originals, MACHINE).mean, MACHINE)
    return decoded.permute(0, 2, 3, 1).numpy()


def test_an_image_that_is_given_twice_is_shown_once(store, album, tmp_path):
    found = pictures(reconstruct.main, store, tmp_path, *(str(album / path) for path in ("b/two.png", "b", "b")))
    assert list(found) == ["0000-two.png", "0001-one.png"]


def test_an_image_whose_name_is_not_unicode_is_reconstructed(store, album, tmp_path, capsys):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(album / "b/one.png", path)
    except OSError:
        pytest.skip("this file system has no such names")
    assert len(pictures(reconstruct.main, store, tmp_path / "out", str(path))) == 1
    assert "caf\N{REPLACEMENT CHARACTER}.png" in capsys.readouterr().out


def test_pictures_of_the_longest_names_are_told_apart(store, album, tmp_path):
    longest = [tmp_path / f"{'n' * 250}{number}.png" for number in range(2)]
    for path in longest:
        shutil.copy(album / "b/one.png", path)
    names = list(pictures(reconstruct.main, store, tmp_path / "out", *map(str, longest)))
    assert [name[:6] for name in names] == ["0000-n", "0001-n"]


DECODERS = {
    "tokenizer": "tokenizer",
    "finetuning": "finetuning",
    "evaluation": "finetuning",
    "generation": "finetuning",
}


@pytest.mark.parametrize("stage", DECODERS)
def test_the_run_that_is_named_says_whether_to_decode_before_or_after_finetuning(stage, store, album, tmp_path):
    decoder, named = DECODERS[stage], run_of(store, stage)
    (other,) = {"tokenizer", "finetuning"} - {decoder}
    path = album / "b/one.png"
    (reconstructed,) = pictures(reconstruct.main, store, tmp_path, str(path), named=named).values()
    original = read(path, SIDE)[None]
    assert farthest(reconstructed, through(store, decoder, original)[0]) <= 1
    assert farthest(reconstructed, through(store, other, original)[0]) > 2
    assert named.key in next(tmp_path.iterdir()).name


def test_pictures_are_decoded_after_finetuning(store, tmp_path):
    (found,) = pictures(generate.main, store, tmp_path, "--classes", "6", "--count", "1").values()
    assert farthest(found, sampled(store, "guided_samples")[6]) <= 2
    assert farthest(found, sampled(store, "guided_samples", "tokenizer")[6]) > 2


def test_reconstruct_needs_no_generator(store, album, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs", ignore=shutil.ignore_patterns("generat*", "latents", "*samples"))
    made = Store(tmp_path / "runs")
    words = [str(album / "b/one.png")]
    assert pictures(reconstruct.main, made, tmp_path / "out", *words, named=run_of(made, "evaluation"))
