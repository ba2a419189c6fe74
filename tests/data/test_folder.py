"""Folders of images: what is read, what is passed over, and the one clear line for each mistake."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import splits
from harness.data.decoding import CROPS, read
from harness.data.sets import folder
from harness.data.splits import open_split
from harness.experiments.experiment import Data
from harness.system.errors import Mistake
from tests.conftest import CATS, DOGS, contents, save_class


def folder_data(path: Path | str, **fields: object) -> Data:
    base = Data("folder", image_size=16, train_images=100, val_images=100, argument=str(path))
    return replace(base, **fields)  # type: ignore[arg-type]


def build_folder(path: Path, **fields: object) -> tuple[dict[str, object], Path]:
    built = path.parent / "built"
    built.mkdir(exist_ok=True)
    return folder.build(folder_data(path, **fields), built), built


def test_folder_without_splits(unsplit: Path) -> None:
    built, arrays = build_folder(unsplit)
    assert built == {"classes": ["cats", "dogs"], "unreadable": [], "passed_over": {}}
    train, val = open_split(arrays, "train"), open_split(arrays, "val")
    assert list(np.bincount(val.labels)) == [2, 1]
    assert list(np.bincount(train.labels)) == [CATS - 2, DOGS - 1]
    assert train.masks is None and splits.splits(arrays) == ["train", "val"]
    first = contents(arrays)
    build_folder(unsplit)
    for name, array in contents(arrays).items():
        np.testing.assert_array_equal(array, first[name])


@pytest.mark.parametrize("name", ["val", "validation"])
def test_folder_with_splits(name: str, tmp_path: Path) -> None:
    for split, images in (("train", 3), (name, 2)):
        for class_name in ("b", "a"):
            save_class(tmp_path / "set" / split / class_name, images)
    built, arrays = build_folder(tmp_path / "set")
    assert built["classes"] == ["a", "b"]
    assert list(open_split(arrays, "train").labels) == [0, 1, 0, 1, 0, 1]
    assert list(open_split(arrays, "val").labels) == [0, 1, 0, 1]


def test_folder_caps_are_balanced(unsplit: Path) -> None:
    _, arrays = build_folder(unsplit, train_images=9, val_images=2)
    assert list(np.bincount(open_split(arrays, "train").labels)) == [5, 4]
    assert list(np.bincount(open_split(arrays, "val").labels)) == [1, 1]


def test_folder_passes_over_what_is_no_image_of_a_class(unsplit: Path) -> None:
    before = folder.recipe(folder_data(unsplit))
    (unsplit / "readme.txt").write_text("pets")
    (unsplit / "cats/notes.txt").write_text("cats")
    (unsplit / "cats/._00.jpg").write_text("hidden")
    save_class(unsplit / ".hidden", 2)
    assert folder.recipe(folder_data(unsplit)) == before
    (unsplit / "empty").mkdir()
    with pytest.raises(Mistake, match="empty has no images"):
        folder.recipe(folder_data(unsplit))


def test_folder_crop_is_upright_centred_and_antialiased(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (100, 1))
    noise = np.random.default_rng(0).integers(0, 256, (100, 400), dtype=np.uint8)
    image = Image.fromarray(np.stack([ramp, noise, ramp], axis=-1))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read(tmp_path / "turned.png", 10)
    assert pixels is not None and pixels.shape == (10, 10, 3)
    across = pixels[..., 0].mean(axis=0)
    assert (np.diff(across) < 0).all()
    assert across.mean() == pytest.approx(127.5, abs=2)
    assert pixels[..., 1].std() < 20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_folder_reads_every_usual_mode(mode: str, tmp_path: Path) -> None:
    grey = np.full((30, 30), 128, dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(np.stack([grey] * 3, axis=-1)).convert(mode)
    image.save(tmp_path / "image.tif")
    pixels = read(tmp_path / "image.tif", 8)
    assert pixels is not None
    assert abs(pixels.astype(int) - 128).max() <= 8  # palettes are dithered


@pytest.mark.parametrize("crop", CROPS)
def test_folder_crops_as_asked(crop: str, unsplit: Path) -> None:
    build_folder(unsplit, crop=crop)
    first = min(
        (path for path in unsplit.glob("cats/*")),
        key=lambda path: hashlib.sha256(f"cats/{path.name}".encode()).digest(),
    )
    found = open_split(unsplit.parent / "built", "val").images[0]
    np.testing.assert_array_equal(found, read(first, 16, crop))


def damage(unsplit: Path) -> list[str]:
    """A truncated image, text that is called an image, a link to nothing; their names."""
    whole = (unsplit / "cats/00.jpg").read_bytes()
    (unsplit / "cats/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (unsplit / "dogs/text.png").write_text("not an image")
    (unsplit / "dogs/link.jpg").symlink_to("nothing.jpg")
    return ["cats/cut.jpg", "dogs/link.jpg", "dogs/text.png"]


def test_folder_refuses_unreadable_files(unsplit: Path) -> None:
    names = damage(unsplit)
    with pytest.raises(Mistake, match=r"3 of 23 images .* do not open") as caught:
        build_folder(unsplit)
    assert all(name in str(caught.value) for name in names)
    assert "--set data.unreadable=skip" in str(caught.value)


def test_folder_skips_unreadable_files(unsplit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = damage(unsplit)
    built, arrays = build_folder(unsplit, unreadable="skip")
    reasons = ("damaged or cut off", "No such file or directory", "not the content of an image")
    assert sorted(built["unreadable"]) == [  # type: ignore[call-overload]
        f"{name} ({reason})" for name, reason in zip(names, reasons, strict=True)
    ]
    warning = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warning) == 1 and "3 of 23" in warning[0] and names[0] in warning[0]
    train, val = open_split(arrays, "train"), open_split(arrays, "val")
    assert len(train.images) == len(train.labels) and len(val.images) == len(val.labels)
    assert len(train) + len(val) == CATS + DOGS
    assert all(image.any() for image in [*train.images, *val.images])
    assert sorted(path.name for path in arrays.iterdir()) == sorted(contents(arrays))
    assert len(contents(arrays)) == 4


def test_folder_names_five_unreadable_files_at_most(unsplit: Path) -> None:
    for i in range(7):
        (unsplit / f"cats/bad{i}.jpg").write_text("not an image")
    with pytest.raises(Mistake, match="7 of 27") as caught:
        build_folder(unsplit)
    assert str(caught.value).count("bad") == 5


def test_folder_with_no_readable_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "set" / name / f"{i}.jpg").write_text("not an image")
    with pytest.raises(Mistake, match="not one image of train opens"):
        build_folder(tmp_path / "set", unreadable="skip")


def touch(root: Path) -> None:
    os.utime(root / "cats/00.jpg", (1_600_000_001, 1_600_000_001))


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda root: (root / "cats/00.jpg").unlink(),
    "renamed": lambda root: (root / "cats/00.jpg").rename(root / "cats/zz.jpg"),
    "touched": touch,
    "added": lambda root: (root / "cats/new.jpg").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_folder_recipe_changes_with_the_content(change: str, unsplit: Path) -> None:
    before = folder.recipe(folder_data(unsplit))
    CHANGES[change](unsplit)
    assert folder.recipe(folder_data(unsplit)) != before


def test_folder_recipe_does_not_change_with_the_path(unsplit: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(unsplit, tmp_path / "elsewhere/pets")  # keeps times, as cp -p
    assert folder.recipe(folder_data(moved)) == folder.recipe(folder_data(unsplit))


@pytest.mark.parametrize(
    "fields",
    [{"image_size": 20}, {"train_images": 5}, {"val_images": 5}, {"unreadable": "skip"}, {"crop": "squash"}],
    ids=str,
)
def test_folder_recipe_changes_with_the_fields(fields: dict[str, object], unsplit: Path) -> None:
    assert folder.recipe(folder_data(unsplit, **fields)) != folder.recipe(folder_data(unsplit))


def only_text(root: Path) -> None:
    (root / "cats").mkdir(parents=True)
    (root / "cats/a.txt").write_text("cats")


def different_classes(root: Path) -> None:
    for place in ("train/a", "train/b", "val/a", "val/c"):
        save_class(root / place, 1)


def train_alone(root: Path) -> None:
    for place in ("train/a", "train/b", "test/a", "test/b"):
        save_class(root / place, 1)


def flat_val(root: Path) -> None:
    for place in ("train/a", "train/b", "val"):
        save_class(root / place, 1)


def one_image(root: Path) -> None:
    save_class(root / "a", 1)
    save_class(root / "b", 3)


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda root: None, "is not there or is not a folder"),
    "file": (lambda root: root.write_text("x"), "is not there or is not a folder"),
    "empty": (lambda root: root.mkdir(), "no class folders"),
    "no images": (only_text, r"cats has no images, but 1 ending in \.txt \(a\.txt\); needed are image files"),
    "one class": (lambda root: save_class(root / "cats", 2), "one class only, 'cats'"),
    "one image of a class": (one_image, "class 'a' .* one image only"),
    "different classes": (different_classes, r"2 are in only one of them: b \(no val\), c \(no train\)"),
    "train without val": (train_alone, "neither val nor validation"),
    "val without classes": (flat_val, "val has no class folders"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_folder_mistakes(mistake: str, tmp_path: Path) -> None:
    arrange, message = MISTAKES[mistake]
    arrange(tmp_path / "set")
    with pytest.raises(Mistake, match=message) as caught:
        folder.recipe(folder_data(tmp_path / "set"))
        folder.require(folder_data(tmp_path / "set"))  # which a plan does not ask for
    assert "\n" not in str(caught.value)


def test_folder_needs_a_path() -> None:
    with pytest.raises(Mistake, match="folder:PATH"):
        folder.recipe(folder_data(""))
