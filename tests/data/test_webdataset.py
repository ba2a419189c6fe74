"""Tar shards: the same images as in class folders, read from anywhere in a shard, and what is no shard."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data import indexed
from harness.data.indexed import IndexedImages
from harness.data.sets import webdataset
from harness.data.splits import open_split
from harness.system.errors import Mistake, Trouble
from tests.encoded import CLASSES, TIME, asked, build, jpegs, opened, save_folders, save_shards, write_tar


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return save_folders(tmp_path / "imagenet")


@pytest.fixture
def shards(folders: Path, tmp_path: Path) -> Path:
    return save_shards(tmp_path / "shards", folders)


def by_stem(split: str, folder: Path) -> dict[str, tuple[int, bytes]]:
    """Label and pixels of every image, all read in one go, by its name without folders and suffix."""
    found = open_split(folder, split)
    assert isinstance(found.images, IndexedImages)
    pixels = np.array(found.images)
    return {Path(found.images.name(k)).stem: (found.labels[k], pixels[k].tobytes()) for k in range(len(found))}


@pytest.mark.parametrize("crop", ["center", "resize_bilinear"])
def test_shards_and_folders_give_the_same_images(crop: str, shards: Path, folders: Path, tmp_path: Path) -> None:
    facts = build("webdataset", shards, tmp_path / "a", crop=crop)
    build("imagenet", folders, tmp_path / "b", crop=crop)
    assert facts == {"classes": ["0", "1", "2"], "unreadable": [], "passed_over": {}}
    for split, count in (("train", 15), ("val", 6)):
        found = by_stem(split, tmp_path / "a")
        assert found == by_stem(split, tmp_path / "b") and len(found) == count


def test_random_access_is_sequential_access(shards: Path, tmp_path: Path) -> None:
    images = opened("webdataset", shards, tmp_path / "index").images
    one_by_one = np.stack([images[k] for k in range(len(images))])
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(images[order], one_by_one[order])
    assert len(np.unique(one_by_one.reshape(15, -1), axis=0)) == 15


def test_names_are_those_of_shard_and_member(shards: Path, tmp_path: Path) -> None:
    images = opened("webdataset", shards, tmp_path / "index").images
    assert isinstance(images, IndexedImages)
    names = {images.name(k) for k in range(15)}
    assert all(name.startswith("train-000") and ".tar/n0" in name and name.endswith(".jpg") for name in names)
    assert len(names) == 15 and images.shards == [f"train-000{k}.tar" for k in range(4)]


@pytest.mark.parametrize(
    ("before", "after"), [("val", "imagenet1k-validation"), ("train", "a-b_TRAIN"), ("val", "VAL")]
)
def test_shards_are_called_as_they_are_elsewhere(before: str, after: str, shards: Path, tmp_path: Path) -> None:
    for path in list(shards.glob(f"{before}-*")):
        path.rename(path.with_name(path.name.replace(before, after)))
    (shards / "test-0000.tar").write_bytes(b"passed over")
    (shards / "pretrain-0000.tar.gz").write_bytes(b"passed over")
    build("webdataset", shards, tmp_path / "index")
    assert [len(open_split(tmp_path / "index", split)) for split in ("train", "val")] == [15, 6]


def test_one_shard_needs_no_number(shards: Path, tmp_path: Path) -> None:
    for path in list(shards.glob("val-*"))[1:]:
        path.unlink()
    next(shards.glob("val-*")).rename(shards / "val.tar")
    build("webdataset", shards, tmp_path / "index")
    assert 0 < len(open_split(tmp_path / "index", "val")) < 6


def test_classes_are_named_by_a_file(shards: Path, tmp_path: Path) -> None:
    (shards / "classes.txt").write_text("tench\ngoldfish\nwhite shark\n")
    assert build("webdataset", shards, tmp_path / "a")["classes"] == ["tench", "goldfish", "white shark"]
    (shards / "classes.txt").write_text("tench\ngoldfish\n")
    with pytest.raises(Trouble, match=r"7 of 21 images .* with a label in 0 \.\. 1, the lines of classes\.txt: "):
        build("webdataset", shards, tmp_path / "b")


def test_caps_are_balanced(shards: Path, tmp_path: Path) -> None:
    split = opened("webdataset", shards, tmp_path / "index", train_images=7, val_images=3)
    assert list(split.labels) == [0, 1, 2, 0, 1, 2, 0]
    assert list(open_split(tmp_path / "index", "val").labels) == [0, 1, 2]


def members() -> dict[str, bytes]:
    """Four samples of two classes."""
    found: dict[str, bytes] = {}
    for k, content in enumerate(jpegs(4)):
        found |= {f"{k}.jpg": content, f"{k}.cls": str(k % 2).encode()}
    return found


def shard_of(root: Path, found: dict[str, bytes]) -> Path:
    """A folder with these members in `train`, and four samples in `val`."""
    root.mkdir()
    write_tar(root / "train-0.tar", list(found.items()))
    write_tar(root / "val-0.tar", list(members().items()))
    return root


def test_a_sample_is_the_files_of_one_name(tmp_path: Path) -> None:
    found = {f"./set.v1/{name.replace('jpg', 'JPEG')}": content for name, content in members().items()}
    found |= {"set.v1/0.json": b'{"label": 1}', "set.v1/0.txt": b"a cat", "readme.cls": b"7", "._1.jpg": b"hidden"}
    split = opened("webdataset", shard_of(tmp_path / "set", found), tmp_path / "index")
    assert isinstance(split.images, IndexedImages)
    expected = {f"train-0.tar/set.v1/{k}.JPEG": k % 2 for k in range(4)}
    assert {split.images.name(k): split.labels[k] for k in range(len(split))} == expected


WRONG = {"0.cls": b"cat", "1.cls": b"-1", "2.cls": b"1.0", "3.cls": b""}


@pytest.mark.parametrize("name", WRONG)
def test_labels_are_integers_from_nought(name: str, tmp_path: Path) -> None:
    root = shard_of(tmp_path / "set", members() | {name: WRONG[name]})
    with pytest.raises(Trouble, match=rf"1 of 8 images .* have no \.cls or \.json with .*: {name[0]}\.jpg$"):
        build("webdataset", root, tmp_path / "index")


@pytest.mark.parametrize("text", [b"{}", b'{"label": "1"}', b'{"label": true}', b"[1]", b"{", b"\xff"], ids=str)
def test_labels_in_json_too(text: bytes, tmp_path: Path) -> None:
    found = {name: content for name, content in members().items() if name != "2.cls"} | {"2.json": text}
    with pytest.raises(Trouble, match=r"1 of 8 images .*: 2\.jpg$"):
        build("webdataset", shard_of(tmp_path / "set", found), tmp_path / "index")


def test_images_without_a_label_are_named(tmp_path: Path) -> None:
    found = {name: content for name, content in members().items() if name not in ("1.cls", "2.cls")}
    with pytest.raises(Trouble, match=r"2 of 8 images .*: 1\.jpg, 2\.jpg$"):
        build("webdataset", shard_of(tmp_path / "set", found), tmp_path / "index")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    root = shard_of(tmp_path / "set", found := {name: b"0" if ".cls" in name else x for name, x in members().items()})
    write_tar(root / "val-0.tar", list(found.items()))
    with pytest.raises(Mistake, match="1 of the classes have images: at least 2"):
        build("webdataset", root, tmp_path / "index")


@pytest.mark.parametrize("content", [b"", b"text", "cut"], ids=["empty", "text", "cut"])
def test_damaged_images_are_refused_or_skipped(
    content: bytes | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = members()
    damaged = whole["2.jpg"][:400] if isinstance(content, str) else content
    reason = "damaged or cut off" if isinstance(content, str) else "not the content of an image"
    root = shard_of(tmp_path / "set", whole | {"2.jpg": damaged})
    with pytest.raises(Mistake, match=r"1 of 8 images in .* does not open: train-0\.tar/2\.jpg \(.*\)\. Replace"):
        build("webdataset", root, tmp_path / "a")
    assert build("webdataset", root, tmp_path / "b", unreadable="skip")["unreadable"] == [
        f"train-0.tar/2.jpg ({reason})"
    ]
    assert "left out, 1 of 8" in capsys.readouterr().err
    assert len(np.array(open_split(tmp_path / "b", "train").images)) == 3


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in an image": lambda path: os.truncate(path, 700),
    "cut in a header": lambda path: os.truncate(path, path.stat().st_size // 512 * 512 // 2 // 512 * 512 + 100),
    "cut between two": lambda path: os.truncate(path, 512 * 2 + (len(members()["0.jpg"]) + 511) // 512 * 512 + 512),
    "header": lambda path: overwrite(path, 512 + (len(members()["0.jpg"]) + 511) // 512 * 512, b"\xff" * 512),
    "empty": lambda path: path.write_bytes(b""),
    "no tar": lambda path: path.write_bytes(b"text" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shards_are_named(damage: str, tmp_path: Path) -> None:
    root = shard_of(tmp_path / "set", members())
    DAMAGES[damage](root / "train-0.tar")
    with pytest.raises(Trouble, match=r"shard .*train-0\.tar is damaged, cut off or not a tar file") as caught:
        build("webdataset", root, tmp_path / "index", unreadable="skip")
    assert "\n" not in str(caught.value)


def test_a_shard_that_changes_is_noticed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(indexed, "WAITS_SECONDS", ())
    images = opened("webdataset", shards, tmp_path / "index").images
    assert isinstance(images, IndexedImages)
    before = np.array(images)
    _, first, length = images.index[4]
    shard = shards / images.name(4).partition("/")[0]
    overwrite(shard, int(first + length // 2), b"\0\1\2\3")
    np.testing.assert_array_equal(images[:6], before[[0, 1, 2, 3, 7, 5]])
    assert images.damaged == [images.name(4)] and len(capsys.readouterr().err.splitlines()) == 1


def gzipped(root: Path) -> None:
    path = root / "train-0001.tar"
    (root / "train-0001.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def gzipped_in_secret(root: Path) -> None:
    path = root / "train-0001.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (shutil.rmtree, r"not a folder; --data webdataset:PATH names a folder of shards, train-\*\.tar"),
    "no val": (lambda root: [path.unlink() for path in root.glob("val*")], r"shards has no shards val-\*\.tar"),
    "compressed": (gzipped, r"train-0001\.tar\.gz is compressed: .* decompress"),
    "compressed, called tar": (gzipped_in_secret, r"train-0001\.tar is compressed: .* decompress"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, shards: Path) -> None:
    arrange, message = MISTAKES[mistake]
    arrange(shards)
    with pytest.raises(Mistake, match=message) as caught:
        webdataset.recipe(asked("webdataset", shards))
        webdataset.require(asked("webdataset", shards))  # which a plan does not ask for
    assert "\n" not in str(caught.value)


def test_a_path_is_needed() -> None:
    with pytest.raises(Mistake, match="webdataset:PATH"):
        webdataset.recipe(asked("webdataset", ""))


def test_plans_are_made_where_it_is_absent() -> None:
    assert webdataset.recipe(asked("webdataset", "/nowhere"))["absent"] == "/nowhere"


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda root: (root / "train-0001.tar").unlink(),
    "renamed": lambda root: (root / "train-0001.tar").rename(root / "train-0009.tar"),
    "touched": lambda root: os.utime(root / "train-0001.tar", (TIME + 1, TIME + 1)),
    "classes": lambda root: (root / "classes.txt").write_text("\n".join(CLASSES)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_recipe_is_of_the_shards(change: str, shards: Path, tmp_path: Path) -> None:
    before = webdataset.recipe(asked("webdataset", shards))
    moved = shutil.copytree(shards, tmp_path / "elsewhere")
    assert webdataset.recipe(asked("webdataset", moved)) == before
    assert webdataset.recipe(asked("webdataset", shards, crop="squash")) != before
    CHANGES[change](moved)
    assert webdataset.recipe(asked("webdataset", moved)) != before
