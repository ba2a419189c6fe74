"""ImageNet in class folders: its index, images read as an array, and what happens when files go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.benchmarks import loading
from harness.data import indexed
from harness.data.indexed import IndexedImages
from harness.data.sets import folder, imagenet
from harness.data.splits import open_split, splits
from harness.evaluation.components import fitted
from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.scales import scale
from harness.planning.stage import Work
from harness.stages import data as stage
from harness.store.runs import Run
from harness.system.errors import Mistake, Trouble
from harness.system.machine import Machine
from tests.encoded import CLASSES, SIDE, TIME, asked, build, no_thread_outlives, opened, save, save_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path / "imagenet")


@pytest.fixture
def images(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IndexedImages:
    """The training images, three classes in turn, without waits before bytes are tried again."""
    monkeypatch.setattr(indexed, "WAITS_SECONDS", (0.0, 0.0))
    found = opened("imagenet", root, tmp_path / "index").images
    assert isinstance(found, IndexedImages)
    return found


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_the_images_are_those_of_the_data_set_folder(crop: str, root: Path, tmp_path: Path) -> None:
    facts = build("imagenet", root, tmp_path / "index", crop=crop)
    assert (
        facts
        == build("folder", root, tmp_path / "arrays", crop=crop)
        == {
            "classes": [*CLASSES],
            "unreadable": [],
            "passed_over": {},
        }
    )
    assert splits(tmp_path / "index") == ["train", "val"]
    for split in ("train", "val"):
        found, expected = (open_split(tmp_path / place, split) for place in ("index", "arrays"))
        np.testing.assert_array_equal(np.array(found.images), expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.images.shape == expected.images.shape and found.images.dtype == expected.images.dtype
        assert len(found) == len(expected) and found.masks is None


INDICES: list[object] = [
    *(0, -1, np.int64(3), slice(2, 7), slice(None, None, -2), slice(20, 30), [4, 0, 4], np.array([[1, 2], [3, -4]])),
    *(np.arange(15) % 2 == 0, np.array([], dtype=int)),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_they_are_indexed_as_an_array(index: int, images: IndexedImages) -> None:
    found, expected = images[index], np.array(images)[index]
    assert isinstance(found, np.ndarray) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("index", [15, -16, [0, 15]], ids=str)
def test_places_beyond_the_end_are_refused(index: int, images: IndexedImages) -> None:
    with pytest.raises(IndexError):
        images[index]


def test_caps_are_balanced(root: Path, tmp_path: Path) -> None:
    split = opened("imagenet", root, tmp_path / "index", train_images=7, val_images=3)
    assert list(split.labels) == [0, 1, 2, 0, 1, 2, 0] and len(split.images) == 7
    assert list(open_split(tmp_path / "index", "val").labels) == [0, 1, 2]


def cut(root: Path) -> list[str]:
    """A truncated image and text that is called an image; their names."""
    path = root / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    save(path, path.read_bytes()[:600])
    save(root / "val" / CLASSES[1] / "text.JPEG", b"not an image")
    return [path.relative_to(root).as_posix(), f"val/{CLASSES[1]}/text.JPEG"]


def test_damaged_images_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    names = cut(root)
    with pytest.raises(Mistake, match=r"2 of 22 images in .* do not open") as caught:
        build("imagenet", root, tmp_path / "index")
    assert all(name in str(caught.value) for name in names) and "data.unreadable=skip" in str(caught.value)


def test_damaged_images_are_skipped(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = cut(root)
    assert build("imagenet", root, tmp_path / "index", unreadable="skip")["unreadable"] == [
        f"{names[0]} (damaged or cut off)",
        f"{names[1]} (not the content of an image)",
    ]
    assert "warning: left out, 2 of 22" in capsys.readouterr().err
    train, val = (open_split(tmp_path / "index", split) for split in ("train", "val"))
    assert np.bincount(train.labels).tolist() == [4, 5, 5] and np.bincount(val.labels).tolist() == [2, 2, 2]
    assert len(np.array(train.images)) == 14 and not train.images.damaged  # type: ignore[attr-defined]


def test_a_split_of_which_nothing_opens(root: Path, tmp_path: Path) -> None:
    for path in root.glob("val/*/*"):
        save(path, b"not an image")
    with pytest.raises(Mistake, match="not one image of val"):
        build("imagenet", root, tmp_path / "index", unreadable="skip")


def test_it_stops_between_chunks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed, "CHUNK_IMAGES", 4)
    asked_times = 0

    def check_stop() -> None:
        nonlocal asked_times
        asked_times += 1
        if asked_times == 3:
            raise InterruptedError

    (tmp_path / "index").mkdir()
    with pytest.raises(InterruptedError):
        imagenet.build(asked("imagenet", root), tmp_path / "index", True, check_stop)
    assert asked_times == 3 and splits(tmp_path / "index") == []


# What decides keys and content


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "renamed": lambda path: path.rename(path.with_name("zz.JPEG")),
    "touched": lambda path: os.utime(path, (TIME + 1, TIME + 1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_recipe_changes_with_the_files(change: str, root: Path) -> None:
    before = imagenet.recipe(asked("imagenet", root))
    CHANGES[change](root / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG")
    assert imagenet.recipe(asked("imagenet", root)) != before


def test_the_recipe_is_of_the_files_and_the_fields(root: Path, tmp_path: Path) -> None:
    before = imagenet.recipe(asked("imagenet", root))
    moved = shutil.copytree(root, tmp_path / "elsewhere")  # keeps times, as cp -p
    assert imagenet.recipe(asked("imagenet", moved)) == before
    changed = {"image_size": 32, "train_images": 5, "val_images": 5, "crop": "squash", "unreadable": "skip"}
    for field, value in changed.items():
        assert imagenet.recipe(asked("imagenet", root, **{field: value})) != before, field


def test_plans_are_made_where_it_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [imagenet.recipe(asked("imagenet", path)) for path in ("", "/nowhere/a", "/nowhere/b")]
    assert [recipe["absent"] for recipe in found] == ["data/imagenet", "/nowhere/a", "/nowhere/b"]


def of(root: Path) -> Experiment:
    fields = {"name": "imagenet", "argument": str(root), "image_size": SIDE, "train_images": 12, "val_images": 6}
    return with_fields(scale("smoke").experiment, {f"data.{name}": value for name, value in fields.items()})


def made(root: Path, place: Path) -> tuple[Run, dict[str, object]]:
    """The run of the stage `data`, and its facts."""
    run = Run(place)
    place.mkdir(parents=True)
    machine = Machine("cpu", "float32", 1)
    return run, stage.run(Work(of(root), run, {}, machine, lambda: False, "test", quiet=True)).facts


def test_the_stage_tells_counts_and_content(root: Path, tmp_path: Path) -> None:
    run, facts = made(root, tmp_path / "runs/data/key")
    assert facts["images"] == {"train": 12, "val": 6}
    assert facts["content"] == stage.content(run.folder)
    assert not list(run.folder.glob("*eigenvalues*"))  # which another stage makes, for the rows that ask for them
    written = sum(path.stat().st_size for path in run.folder.iterdir())
    assert stage.size(of(root)).bytes < 20 * 1024 and written < 20 * 1024


def test_components_are_those_of_the_images_in_memory(images: IndexedImages) -> None:
    """Read in pieces where they lie; more than once, as their mean comes first."""
    machine = Machine("cpu", "float32", 1)
    found, expected = fitted(images, machine), fitted(np.array(images), machine)  # type: ignore[arg-type]
    assert (found.images, len(found.vectors)) == (len(images), len(images) - 1)
    for part, of_arrays in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(part, of_arrays)


def test_the_content_is_that_of_the_bytes_and_not_of_the_place(root: Path, tmp_path: Path) -> None:
    content = [made(root, tmp_path / "runs/data/a")[1]["content"]]
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    content.append(made(moved, tmp_path / "runs/data/b")[1]["content"])
    path = moved / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    changed = bytearray(path.read_bytes())
    changed[-20] ^= 1  # the pixels of a corner
    path.write_bytes(changed)
    content.append(made(moved, tmp_path / "runs/data/c")[1]["content"])
    assert content[0] == content[1] != content[2]


# When files go


def test_the_store_may_move(images: IndexedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.array(images)
    (tmp_path / "index").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(np.array(open_split(tmp_path / "moved", "train").images), expected)


def test_a_relative_path_holds_from_everywhere(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    build("imagenet", Path(root.name), tmp_path / "index")
    monkeypatch.chdir("/")
    assert open_split(tmp_path / "index", "train").images[0].any()


def test_data_that_moved_is_named(images: IndexedImages, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(
        Trouble, match=f"^the images cannot be read in {root}: put them back, or name the folder"
    ) as caught:
        images[0]
    assert "\n" not in str(caught.value)
    assert open_split(tmp_path / "index", "train").labels[0] == 0  # which needs no image


def file_of(images: IndexedImages, place: int) -> Path:
    return images.root / images.name(place)


GOES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "another": lambda path: shutil.copy(next(other for other in path.parent.iterdir() if other != path), path),
    "no access": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", GOES)
def test_the_next_of_its_class_stands_in(how: str, images: IndexedImages, capsys: pytest.CaptureFixture[str]) -> None:
    before = np.array(images)
    GOES[how](file_of(images, 13))  # the last of class 1, at places 1, 4, 7, 10, 13: the first comes after it
    expected = before.copy()
    expected[13] = before[1]
    np.testing.assert_array_equal(images[10:15], expected[10:15])
    np.testing.assert_array_equal(images[13], expected[13])
    np.testing.assert_array_equal(np.array(images), expected)
    np.testing.assert_array_equal(images[[13, 13]], expected[[13, 13]])
    assert images.damaged == [images.name(13)]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and images.name(13) in told[0] and images.name(1) in told[0]


def test_an_image_that_goes_is_told_once_in_a_batch(images: IndexedImages, capsys: pytest.CaptureFixture[str]) -> None:
    expected = images[[4, 0, 4]]
    file_of(images, 1).unlink()
    np.testing.assert_array_equal(images[[1, 0, 1]], expected)
    assert len(images.damaged) == len(capsys.readouterr().err.splitlines()) == 1


def stand_ins(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The names of the images that are reported as replacements of others."""
    return [line.rpartition(": ")[2].split()[0] for line in capsys.readouterr().err.splitlines()]


def test_a_stand_in_that_goes_too_is_passed_over(images: IndexedImages, capsys: pytest.CaptureFixture[str]) -> None:
    before = np.array(images)
    file_of(images, 1).unlink()
    np.testing.assert_array_equal(images[1], before[4])
    file_of(images, 4).unlink()
    np.testing.assert_array_equal(images[[1, 2, 4]], before[[7, 2, 7]])
    assert images.damaged == [images.name(1), images.name(4)]
    assert stand_ins(capsys) == [images.name(k) for k in (4, 7, 7)]
    for place in (13, 10, 7):
        file_of(images, place).unlink()
        assert place == 7 or np.array_equal(images[place], before[7])
    assert stand_ins(capsys) == [images.name(7)] * 2


def test_a_disk_that_comes_back_is_waited_for(
    images: IndexedImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, opens, original = images[2], 0, Path.open

    def flaky(path: Path, *words: object) -> object:
        nonlocal opens
        opens += 1
        if opens < 3:
            raise OSError("stale handle")
        return original(path, *words)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", flaky)
    np.testing.assert_array_equal(images[2], expected)
    assert opens == 3 and not images.damaged and not capsys.readouterr().err


def test_trouble_where_none_of_several_can_be_read(images: IndexedImages) -> None:
    for place in range(3):
        file_of(images, place).unlink()
    with pytest.raises(Trouble, match=r"and 2 more images cannot be read"):
        images[:3]
    assert len(images[:4]) == 4


def test_trouble_where_a_class_is_gone(images: IndexedImages) -> None:
    shutil.rmtree(images.root / "train" / CLASSES[2])
    with pytest.raises(Trouble, match=f"train/{CLASSES[2]}/.*cannot be read"):
        images[2]
    with pytest.raises(Trouble, match=f"train/{CLASSES[2]}/.*cannot be read"):
        images[:4]


def test_no_thread_outlives_the_images(root: Path, tmp_path: Path) -> None:
    def used() -> object:
        images = opened("imagenet", root, tmp_path / "index").images
        images[:8]
        return images

    no_thread_outlives(used)


# Mistakes


def flat(root: Path) -> None:
    for path in list((root / "val").glob("*/*")):
        path.rename(root / "val" / path.name)
    for name in CLASSES:
        (root / "val" / name).rmdir()


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (shutil.rmtree, r"imagenet is not a folder\. Get .* from image-net.org.*--data imagenet:PATH"),
    "no train": (lambda root: shutil.rmtree(root / "train"), "no folder train: train/CLASS"),
    "no val": (lambda root: shutil.rmtree(root / "val"), "no folder val: train/CLASS"),
    "flat val": (flat, r"val has no class folders \(the official tar .* LOC_val_solution.csv"),
    "classes": (
        lambda root: shutil.rmtree(root / "val" / CLASSES[1]),
        rf"in only one of them: {CLASSES[1]} \(no val\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, root: Path) -> None:
    arrange, message = MISTAKES[mistake]
    arrange(root)
    with pytest.raises(Mistake, match=message) as caught:
        imagenet.recipe(asked("imagenet", root))
        imagenet.require(asked("imagenet", root))  # which a plan does not ask for
    assert "\n" not in str(caught.value)


def test_the_default_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=str(tmp_path / "data/imagenet")):
        imagenet.require(asked("imagenet", ""))
    save_folders(tmp_path / "data/imagenet", 1, 1)
    imagenet.require(asked("imagenet", ""))
    assert "absent" not in imagenet.recipe(asked("imagenet", ""))
    assert (
        folder.recipe(asked("folder", tmp_path / "data/imagenet"))["manifest"]
        == (imagenet.recipe(asked("imagenet", ""))["manifest"])
    )


def test_throughput_is_measured_of_every_loader() -> None:
    rows = loading.throughput(images=4, rounds=1, threads=(1, 2))
    assert [(row["loader"], row["threads"]) for row in rows] == [
        *((loader, threads) for loader in ("class folders", "tar shards") for threads in (1, 2)),
        ("memory-mapped arrays", 1),
    ]
    assert all(row["images/s"] > 0 for row in rows)


def test_images_that_were_moved_are_read_where_they_lie_now(root: Path, images: IndexedImages, tmp_path: Path) -> None:
    before = np.array(images)
    moved = root.rename(tmp_path / "moved")
    with indexed.lying_in(moved):
        np.testing.assert_array_equal(np.array(open_split(images.folder, "train").images), before)
    with pytest.raises(Trouble, match="name the folder where they lie now with --data, and the same runs go on"):
        np.array(open_split(images.folder, "train").images)
