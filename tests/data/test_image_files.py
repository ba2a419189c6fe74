"""Which files are images, in every command: links, formats, hidden files, and the count of all that is not used."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data import image_files, indexed
from harness.data.image_files import find, is_image, natural, shown, suffixes
from harness.data.image_sets import open_images
from harness.data.splits import open_split
from harness.experiments.fields import with_fields
from harness.experiments.scales import scale
from harness.planning.plan import require_enough
from harness.planning.stage import Work
from harness.reconstruct import files
from harness.stages import data as stage
from harness.store.runs import Run
from harness.system.errors import Mistake
from harness.system.machine import Machine
from tests.commands.stores import request_of
from tests.conftest import photograph, save_class
from tests.encoded import build, save_folders, save_shards

SIDE = 16


@pytest.fixture(autouse=True)
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken links are not tried again."""
    monkeypatch.setattr(indexed, "WAITS_SECONDS", ())


def picture(number: int, mode: str = "RGB") -> Image.Image:
    return photograph().crop((3 * number, 2 * number, 3 * number + SIDE, 2 * number + SIDE)).convert(mode)


def test_every_format_that_pillow_reads_alone_is_an_image() -> None:
    assert {".jpg", ".jfif", ".gif", ".pgm", ".png", ".webp", ".tga", ".ico", ".jp2"} <= suffixes()
    assert not {".eps", ".ps", ".pdf", ".mpg", ".hdf", ".txt", ""} & suffixes()
    assert is_image("a.GIF") and not is_image("gif")


def test_natural_order() -> None:
    names = ["img10", "img2", "img1", "a/2/b", "a/10/b", "img02", "b", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "a/2/b", "a/10/b", "b", "img1", "img02", "img2", "img10"]


def test_names_are_printable() -> None:
    assert shown("a\nb\x1b") == "a\\nb\\x1b"
    assert shown(os.fsdecode(b"caf\xe9.png")) == "caf\N{REPLACEMENT CHARACTER}.png"


def test_what_is_passed_over_is_counted_by_reason(tmp_path: Path) -> None:
    save_class(tmp_path / "a", 2)
    save_class(tmp_path / "elsewhere/b", 3)
    save_class(tmp_path / "a/.ipynb_checkpoints", 1)
    save_class(tmp_path / "a/__MACOSX", 2)
    (tmp_path / "a/.DS_Store").write_text("x")
    (tmp_path / "a/Thumbs.db").write_text("x")
    (tmp_path / "a/._00.jpg").write_text("x")
    (tmp_path / "a/notes.txt").write_text("x")
    (tmp_path / "a/README").write_text("x")
    (tmp_path / "a/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a/loop").symlink_to(tmp_path / "a")
    (tmp_path / "a/itself").symlink_to("itself")
    (tmp_path / "a/gone").symlink_to("nowhere")
    (tmp_path / "a/gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    found = find(tmp_path / "a")
    assert len(found.images) == 6 and "gone.png" in found.images and "linked/b/00.jpg" in found.images
    assert found.passed_over.counts == {
        "hidden": 4,
        "ending in .txt": 1,
        "without a suffix": 1,
        "linked to a folder above": 1,
        "linked to nothing": 2,
        "neither file nor folder": 1,
    }
    assert "1 ending in .txt (notes.txt)" in str(found.passed_over)


def test_links_that_lead_to_one_another_are_read_once(tmp_path: Path) -> None:
    """Followed in every order, twelve of them would be read a billion times."""
    for k in range(12):
        save_class(tmp_path / f"{k:02d}", 1)
        for other in range(12):
            if other != k:
                (tmp_path / f"{k:02d}/to{other:02d}").symlink_to(f"../{other:02d}")
    found = find(tmp_path)
    assert len(found.images) == 12
    assert sum(found.passed_over.counts.values()) == 12 * 11


def test_folders_that_cannot_be_opened_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_class(tmp_path / "a", 2)
    save_class(tmp_path / "b", 2)
    whole: Callable[[str], Iterator[os.DirEntry[str]]] = os.scandir

    def closed(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(image_files.os, "scandir", closed)  # type: ignore[attr-defined]
        with pytest.raises(Mistake, match=r"has folders that cannot be opened: b \(Permission denied\)"):
            open_images(tmp_path)
        with pytest.raises(Mistake, match=r"class .*/b has folders that cannot be opened: \. \(Permission denied\)"):
            build("folder", tmp_path, tmp_path / "built")


@pytest.mark.parametrize("name", ["folder", "evaluate", "reconstruct"])
def test_many_formats_are_read_together(name: str, tmp_path: Path) -> None:
    for k, suffix in enumerate((".gif", ".pgm", ".jfif", ".PNG", ".tga", ".bmp")):
        for place in ("cats", "dogs"):
            (tmp_path / "set" / place).mkdir(parents=True, exist_ok=True)
            picture(k, "L" if suffix == ".pgm" else "RGB").save(tmp_path / "set" / place / f"{k}{suffix}")
    if name == "folder":
        build("folder", tmp_path / "set", tmp_path / "built")
        assert sum(len(open_split(tmp_path / "built", split)) for split in ("train", "val")) == 12
    elif name == "evaluate":
        assert len(np.concatenate(list(open_images(tmp_path / "set").batches(5)))) == 12
    else:
        assert len(files([tmp_path / "set"])[0]) == 12


# Whatever is in a folder or shard: images in = images used + images told

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
KINDS = ("image", "image", "image", "hidden", "text", "broken link", "linked folder", "loop", "damaged")
FORMATS = {
    ".png": "RGB",
    ".PNG": "RGBA",
    ".jpg": "L",
    ".gif": "P",
    ".pgm": "L",
    ".jfif": "RGB",
    ".webp": "RGBA",
    ".tif": "CMYK",
}


class Entry(NamedTuple):
    kind: str
    name: str
    suffix: str
    deep: bool


ENTRIES = st.lists(
    st.builds(Entry, st.sampled_from(KINDS), NAMES, st.sampled_from(sorted(FORMATS)), st.booleans()), max_size=6
)
RARELY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def encoded(number: int, suffix: str) -> bytes:
    file = io.BytesIO()
    image = picture(number % 40, FORMATS[suffix])
    image.save(file, Image.registered_extensions()[suffix.lower()])
    return file.getvalue()


def fill(folder: Path, entries: list[Entry], outside: Path) -> tuple[int, int, int]:
    """Writes the entries; the numbers of readable images, damaged images, and things to be told."""
    whole, damaged, told = 0, 0, 0
    for number, entry in enumerate(entries):
        place = folder / "deep" if entry.deep else folder
        place.mkdir(parents=True, exist_ok=True)
        name = f"{number}{entry.name}"
        if entry.kind in ("image", "hidden", "damaged"):
            content = encoded(number, entry.suffix) if entry.kind == "image" else b"damaged"
            (place / f"{'.' * (entry.kind == 'hidden')}{name}{entry.suffix}").write_bytes(content)
            whole, damaged, told = (
                whole + (entry.kind == "image"),
                damaged + (entry.kind == "damaged"),
                told + (entry.kind == "hidden"),
            )
        elif entry.kind == "text":
            (place / f"{name}.txt").write_text("x")
            told += 1
        elif entry.kind == "broken link":
            (place / f"{name}{entry.suffix}").symlink_to("nowhere")
            damaged += 1
        elif entry.kind == "loop":
            (place / f"{name}.loop").symlink_to(folder)
            told += 1
        else:
            target = outside / str(number)
            target.mkdir(parents=True, exist_ok=True)
            (target / "a.png").write_bytes(encoded(number, ".png"))
            (target / "b.dat").write_text("x")
            (place / f"{name}.linked").symlink_to(target)
            whole, told = whole + 1, told + 1
    return whole, damaged, told


@given(classes=st.lists(ENTRIES, min_size=2, max_size=3), split=st.booleans(), size=st.integers(1, 3))
@RARELY
@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_no_image_of_a_folder_vanishes(name: str, classes: list[list[Entry]], split: bool, size: int) -> None:
    split = split or name == "imagenet"
    with tempfile.TemporaryDirectory() as place:
        root, whole, damaged, told = Path(place) / "set", 0, 0, 0
        for number, entries in enumerate(classes):
            for part in ("train", "val") if split else (".",):
                folder = root / part / f"class {number}"
                save_class(folder, 2 * size)  # so that every class has images of both splits
                added = fill(folder, entries, Path(place) / f"outside-{part}-{number}")
                whole, damaged, told = whole + added[0] + 2 * size, damaged + added[1], told + added[2]
        facts = build(name, root, Path(place) / "built", unreadable="skip")
        used = sum(len(open_split(Path(place) / "built", split)) for split in ("train", "val"))
        unreadable, passed_over = facts["unreadable"], facts["passed_over"]
        assert isinstance(unreadable, list) and isinstance(passed_over, dict)
        assert (used, len(unreadable), sum(passed_over.values())) == (whole, damaged, told)


@given(entries=ENTRIES)
@RARELY
def test_no_image_vanishes_from_what_is_scored(entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "set"
        root.mkdir()
        for k in range(2):
            (root / f"sure{k}.png").write_bytes(encoded(k, ".png"))
        whole, damaged, told = fill(root, entries, Path(place) / "outside")
        found = find(root)
        assert (len(found.images), sum(found.passed_over.counts.values())) == (whole + damaged + 2, told)
        if damaged:
            with pytest.raises(Mistake, match=r"(does|do) not open"):
                open_images(root)
        else:
            opened = open_images(root)
            assert sum(map(len, opened.batches(3))) == whole + 2
            assert sum(opened.passed_over.counts.values()) == told


@given(entries=st.lists(ENTRIES, min_size=2, max_size=3), first=st.integers(0, 5), gap=st.integers(1, 1000))
@RARELY
def test_no_image_of_a_shard_vanishes(entries: list[list[Entry]], first: int, gap: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        root, whole, damaged, told = Path(place) / "set", 0, 0, 0
        root.mkdir()
        for split in ("train", "val"):
            with tarfile.open(root / f"{split}-0.tar", "w", format=tarfile.PAX_FORMAT) as shard:

                def add(name: str, content: bytes, shard: tarfile.TarFile = shard) -> None:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))

                for number, of_class in enumerate(entries):
                    label = str(first + gap * number).encode()
                    add(f"{number}/sure.png", encoded(number, ".png"))
                    add(f"{number}/sure.cls", label)
                    whole += 1
                    for k, entry in enumerate(of_class):
                        stem = f"{number}/{k}"
                        if entry.kind in ("image", "damaged"):
                            add(stem + entry.suffix, encoded(k, entry.suffix) if entry.kind == "image" else b"damaged")
                            add(f"{stem}.cls", label)
                            whole, damaged = whole + (entry.kind == "image"), damaged + (entry.kind == "damaged")
                        elif entry.kind == "hidden":
                            add(f"{number}/._{k}{entry.suffix}", b"x")
                            told += 1
                        else:
                            add(f"{stem}.txt", b"x")
                            told += 1
        facts = build("webdataset", root, Path(place) / "built", unreadable="skip")
        assert facts["classes"] == [str(first + gap * number) for number in range(len(entries))]
        used = sum(len(open_split(Path(place) / "built", split)) for split in ("train", "val"))
        unreadable, passed_over = facts["unreadable"], facts["passed_over"]
        assert isinstance(unreadable, list) and isinstance(passed_over, dict)
        assert (used, len(unreadable), sum(passed_over.values())) == (whole, damaged, told)
        json.dumps(facts)


# Too few images


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (4, 10, r"train has 8 images, and a batch takes at least 16: add images, or --set training\.batch_images=8"),
        (10, 10, r"train has 20 images, and a batch takes at least 32: .* --set generator\.training\.batch_images=20"),
        (20, 3, "val has 6 images, and metrics take at least 16: add images"),
    ],
)
@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_too_few_images_are_refused_before_the_first_stage(
    name: str, train: int, val: int, message: str, tmp_path: Path
) -> None:
    for place in ("a", "b"):
        save_class(tmp_path / "set/train" / place, train)
        save_class(tmp_path / "set/val" / place, val)
    with pytest.raises(Mistake, match=message):
        require_enough(request_of(data=f"{name}:{tmp_path}/set"))


@pytest.mark.parametrize("name", ["folder", "webdataset"])
def test_images_that_do_not_open_may_leave_too_few(name: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    save_folders(root, train=20, val=8)
    if name == "webdataset":
        save_shards(tmp_path / "shards", root)
        root = tmp_path / "shards"
    else:
        for path in list(root.glob("val/*/*"))[9:]:
            path.write_text("damaged")
    fields = {"name": name, "argument": str(root), "image_size": SIDE, "unreadable": "skip"}
    if name == "webdataset":
        fields |= {"val_images": 15}
    asked = with_fields(scale("smoke").experiment, {f"data.{field}": value for field, value in fields.items()})
    (tmp_path / "run").mkdir()
    work = Work(asked, Run(tmp_path / "run"), {}, Machine("cpu", "float32", 1), lambda: False, "test", quiet=True)
    with pytest.raises(Mistake, match=r"val has (9|15) images, and metrics take at least 16: add images"):
        stage.run(work)
