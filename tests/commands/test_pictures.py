"""The commands `generate` and `reconstruct`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from harness import generate, reconstruct
from harness.data.sets.folder import read
from harness.data.splits import open_split
from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.latents import autoencode
from harness.networks import weights
from harness.planning.task import task, tasks
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from harness.system.files import write_json
from tests.conftest import MACHINE, SIDE, experiment, save_class

pytestmark = pytest.mark.usefixtures("float32")

EXPERIMENT = experiment("mactok")
CLASSES = 10
# After 40 steps all images look alike, whatever the class and the latents; these factors change that.
LOUDER_DECODER = {"decoder.0.proj.weight": 10, "to_pixels.weight": 30}
LOUDER_GENERATOR = {"label.weight": 30, "modulation.weight": 5, "to_velocity.weight": 30}

Command = Callable[[Sequence[str]], int]


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


def run_of(store: Store, stage: str) -> Run:
    return task(stage, EXPERIMENT).run_in(store)


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
    asked = ["--classes", "3", "--count", "2", "--seed", "5"]
    first = pictures(generate.main, store, tmp_path / "first", *asked)
    again = pictures(generate.main, store, tmp_path / "again", *asked)
    other = pictures(generate.main, store, tmp_path / "other", *asked, *words)
    assert first.keys() == again.keys() == other.keys() == {"class3-0.png", "class3-1.png"}
    for path in (tmp_path / "first").rglob("class*.png"):
        place = path.relative_to(tmp_path / "first")
        assert path.read_bytes() == (tmp_path / "again" / place).read_bytes()
        assert not (tmp_path / "other" / place).exists()
    assert all(farthest(first[name], other[name]) > 2 for name in first)


@pytest.mark.parametrize(
    ("asked", "labels"), [("time", [4]), ("4", [4]), (" 4 , time,", [4]), ("sky & weather,0", [0, 5])]
)
def test_classes_are_chosen_by_name_or_number(asked, labels, store, tmp_path):
    found = pictures(generate.main, store, tmp_path, "--classes", asked, "--count", "1", "--cfg", "1")
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
    with pytest.raises(Mistake, match="its folder does not exist"):
        pictures(generate.main, store, tmp_path / "out", "--npz", str(tmp_path / "absent/images.npz"))


def test_the_overview_shows_no_more_than_ten_pictures_of_a_class(store, tmp_path):
    sides = []
    for count in ("9", "10", "12"):
        out = tmp_path / count
        assert len(pictures(generate.main, store, out, "--classes", "0", "--count", count)) == int(count)
        with Image.open(next(out.rglob("all.png"))) as overview:
            sides.append(overview.width)
    assert sides[0] < sides[1] == sides[2]


# reconstruct


@pytest.fixture(scope="module")
def album(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the data set, some under one name in two folders, and crops of a photograph in several formats."""
    place = tmp_path_factory.mktemp("album")
    images = open_split(run_of(store, "data").folder, "val").images
    for i, name in enumerate(["b/one.png", "b/two.png", "a/one.png", "a/deep/three.png"]):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place / name)
    (place / "a/notes.txt").write_text("no image")
    (place / "a/.hidden.png").write_text("no image")
    (place / "a/folder.png").mkdir()
    save_class(place / "photographs", 3)
    return place


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
        distances = [farthest(image, d) for d in decoded]
        assert [expected[i] for i, distance in enumerate(distances) if distance <= 1] == [path]
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


# Mistakes

GENERATE_MISTAKES = {
    "class out of range": (["--classes", "10"], "class 10 is out of range: 0 to 9"),
    "negative class": (["--classes", "0,-1"], "class -1 is out of range: 0 to 9"),
    "class": (["--classes", "3,tmie"], "unknown class 'tmie'. Did you mean 'time'?"),
    "no pictures": (["--count", "0"], "--count 0: at least 1"),
    "negative count": (["--count", "-3"], "--count -3: at least 1"),
    "count": (["--count", "many"], "--count"),
    "no steps": (["--steps", "0"], "greater than or equal to 1"),
    "steps": (["--steps", "2.5"], "integer"),
    "sampler": (["--sampler", "eulr"], "'euler', 'heun' or 'euler_maruyama'"),
    "guidance below 1": (["--cfg", "0.9"], "greater than or equal to 1"),
    "guidance": (["--cfg", "high"], "number"),
    "infinite guidance": (["--cfg", "inf"], "finite"),
    "several scales": (["--cfg", "1,2"], "1,2"),
    "negative seed": (["--seed", "-1"], "greater than or equal to 0"),
    "seed": (["--seed", "one"], "integer"),
    "option": (["--clases", "1"], "Did you mean '--classes'?"),
}
RUN_MISTAKES = {
    "unknown run": ("nowhere", "no run 'nowhere'"),
    "wildcard": ("*", "no run '*'"),
    "no run": ("", "no run ''"),
    "several runs": ("ab", "'ab' names 2 runs"),
}


def refused(command: Command, out: Path, *words: str) -> str:
    """The one line with which a command refuses, before it writes anything."""
    with pytest.raises(Mistake) as error:
        command([*words, "--out", str(out)])
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("case", GENERATE_MISTAKES)
def test_generate_refuses_in_one_line_and_writes_nothing(case, store, tmp_path):
    words, expected = GENERATE_MISTAKES[case]
    key = run_of(store, "generation").key
    assert expected in refused(generate.main, tmp_path / "out", *words, "--run", key, "--runs", str(store.root))


@pytest.mark.parametrize("case", RUN_MISTAKES)
@pytest.mark.parametrize("command", [generate, reconstruct])
def test_a_run_has_to_be_named_so_that_it_is_one(command, case, tmp_path):
    named, expected = RUN_MISTAKES[case]
    for stage, key in [("tokenizer", "abc0"), ("generator", "abd0"), ("data", "cd00")]:
        (tmp_path / "runs" / stage / key).mkdir(parents=True)
        write_json(tmp_path / "runs" / stage / key / "config.json", {})
    words = ["--run", named, "--runs", str(tmp_path / "runs")]
    given = [] if command is generate else ["images"]
    assert expected in refused(command.main, tmp_path / "out", *given, *words)


@pytest.mark.parametrize("stage", ["data", "tokenizer", "generator", "guided_samples", "evaluation"])
def test_generate_wants_a_run_of_the_stage_generation(stage, store, tmp_path):
    key = run_of(store, stage).key
    said = refused(generate.main, tmp_path / "out", "--run", key, "--runs", str(store.root))
    assert said == f"{key} is a run of the stage {stage}, and not of generation"


@pytest.mark.parametrize("stage", ["data", "latents", "generator", "samples"])
def test_reconstruct_wants_a_run_that_has_a_decoder(stage, store, album, tmp_path):
    key = run_of(store, stage).key
    said = refused(reconstruct.main, tmp_path / "out", str(album), "--run", key, "--runs", str(store.root))
    assert f"{key} is a run of the stage {stage}, and not of " in said


@pytest.mark.parametrize("command", [generate, reconstruct])
def test_a_run_has_to_be_finished(command, store, album, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs")
    named = run_of(Store(tmp_path / "runs"), "generation")
    named.set_state("stopped", "asked to stop")
    given = [] if command is generate else [str(album)]
    said = refused(command.main, tmp_path / "out", *given, "--run", named.key, "--runs", str(tmp_path / "runs"))
    assert said == f"generation {named.key} is not finished, but stopped"


def test_reconstruct_needs_no_generator(store, album, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs", ignore=shutil.ignore_patterns("generat*", "latents", "*samples"))
    made = Store(tmp_path / "runs")
    words = [str(album / "b/one.png")]
    assert pictures(reconstruct.main, made, tmp_path / "out", *words, named=run_of(made, "evaluation"))


@pytest.mark.parametrize("gone", ["", "weights.safetensors", "config.json"])
def test_a_generator_that_is_gone_is_one_line_and_exit_code_1(gone, store, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs")
    path = run_of(Store(tmp_path / "runs"), "generator").folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = command_line("generate", "--run", run_of(store, "generation").key, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "run its study again to make it again" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["good.png", "torn.png"], "torn.png does not open as an image"),
        (["words.png"], "words.png does not open as an image"),
        (["good.png", "absent.png"], "absent.png does not exist"),
        (["good.png", "empty"], "no images in "),
    ],
)
def test_reconstruct_refuses_in_one_line_and_writes_nothing(given, expected, store, album, tmp_path):
    good = (album / "b/one.png").read_bytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "torn.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "words.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    words = [*(str(tmp_path / name) for name in given), "--run", run_of(store, "tokenizer").key]
    said = refused(reconstruct.main, tmp_path / "out", *words, "--runs", str(store.root))
    assert expected in said
    assert given[-1] in said


def command_line(entry: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"harness.{entry}", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
    )


@pytest.mark.parametrize(("entry", "words"), [("generate", ["--classes", "tmie"]), ("reconstruct", ["absent.png"])])
def test_a_mistake_is_one_line_and_exit_code_2(entry, words, store, tmp_path):
    words = [*words, "--run", run_of(store, "generation").key, "--runs", str(store.root)]
    done = command_line(entry, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_generate_is_a_command(runs, tmp_path):
    words = ["--run", run_of(Store(runs), "generation").key, "--runs", str(runs), "--classes", "1", "--count", "1"]
    done = command_line("generate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "reports/out").glob("*/*")) == ["all.png", "class1-0.png"]
