"""Tar shards as the library WebDataset writes them, decoded as they are read: `--data webdataset:PATH`.

Shards are the uncompressed tars in PATH named `train-*.tar` and `val-*.tar` (or `validation-*.tar`), with or without
words before: `imagenet1k-train-0000.tar`. A sample is the files of one name up to its last dot: an image (.jpg .jpeg
.png .webp) and its label, .cls (an integer as text) or .json ({"label": integer}). The classes are the lines of
PATH/classes.txt, else the numbers up to the largest label. Shards are indexed once, each image by its place in its
shard, and then read at random.

Keys stand for names, sizes and times of the shards and of classes.txt.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.data import class_folders
from harness.data.class_folders import File
from harness.experiments.experiment import Data
from harness.system.errors import Mistake, Trouble
from harness.system.machine import cores

if TYPE_CHECKING:
    from harness.data.indexed import EncodedImage

revision = 1
about = "tar shards, decoded as they are read: webdataset:PATH with train-*.tar and val-*.tar of images and labels"
attribution = ""
indexed = True

SHARD = re.compile(r"(?:.*[-_.])?(train|val|validation)(?:[-_.].*)?\.(tar|tar\.\w+|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # how gzip, bzip2, xz and zstd begin
IMAGES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "json")  # the first that there is counts
CLASSES = "classes.txt"
CHUNK_SHARDS = 64
SHOWN = 5


class Sample(NamedTuple):
    """An image in a shard: its name there, its first byte and length, and its label, -1 where it has none."""

    name: str
    first: int
    length: int
    label: int


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` where PATH is there and has not the shards that are needed.

    Where PATH is not on this machine a plan can still be made; its keys then stand for PATH and no content.
    """
    if data.argument and not Path(data.argument).expanduser().exists():
        return {"name": "webdataset", "absent": data.argument, "image_size": data.image_size}
    root = _root(data)
    names = [name for shards in _shards(root).values() for name in shards]
    names += [CLASSES] if (root / CLASSES).is_file() else []
    stats = {name: (root / name).stat() for name in names}
    files = [File(name, status.st_size, status.st_mtime_ns // 10**9) for name, status in stats.items()]
    return class_folders.identity("webdataset", data, files)


def require(data: Data) -> None:
    """Raises `Mistake` where PATH is not there."""
    _root(data)


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Write the index of `harness.data.indexed` into `folder`; caps and images that do not open as in the set `folder`.

    Raises `Trouble` for shards that are damaged and for images without a label.
    """
    from harness.data import indexed

    root = _root(data)
    shards = _shards(root)
    samples = {split: _scan(root, names, check_stop) for split, names in shards.items()}
    classes = _classes(root, samples)
    caps = {"train": data.train_images, "val": data.val_images}
    found = {split: _chosen(of_split, shards[split], len(classes), caps[split]) for split, of_split in samples.items()}
    unreadable = indexed.build(data, folder, root, found, quiet, check_stop)
    return {"classes": classes, "unreadable": unreadable}


def _root(data: Data) -> Path:
    needed = "--data webdataset:PATH names a folder of shards, train-*.tar and val-*.tar"
    if not data.argument:
        raise Mistake(f"data set webdataset needs a path: {needed}")
    root = Path(data.argument).expanduser()
    if not root.is_dir():
        raise Mistake(f"data set webdataset: there is no folder {root.absolute()}; {needed}")
    return root


def _shards(root: Path) -> dict[str, list[str]]:
    """The names of the shards of `train` and `val`, sorted; raises `Mistake` where some are missing or compressed."""
    shards: dict[str, list[str]] = {"train": [], "val": []}
    for path in sorted(root.iterdir()):
        named = SHARD.fullmatch(path.name)
        if named and path.is_file():
            with path.open("rb") as file:
                compressed = file.read(8).startswith(COMPRESSED)
            if compressed or named[2].lower() != "tar":
                raise Mistake(
                    f"{path} is compressed: images are read from the middle of shards, so decompress them "
                    "(the images in them are compressed already)"
                )
            shards["train" if named[1].lower() == "train" else "val"].append(path.name)
    for split, names in shards.items():
        if not names:
            raise Mistake(f"data set webdataset: {root.absolute()} has no shards {split}-*.tar")
    return shards


def _scan(root: Path, shards: list[str], check_stop: Callable[[], None]) -> list[list[Sample]]:
    """The samples of every shard."""
    with ThreadPoolExecutor(cores()) as pool:
        scanned = []
        for start in range(0, len(shards), CHUNK_SHARDS):
            check_stop()
            scanned += list(pool.map(lambda name: _samples(root / name), shards[start : start + CHUNK_SHARDS]))
    return scanned


def _samples(path: Path) -> list[Sample]:
    """The images in a shard, in its order; raises `Trouble` where it is damaged."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
            for member in shard:
                stem, _, suffix = member.name.removeprefix("./").rpartition(".")
                if member.isfile() and stem and not stem.rpartition("/")[2].startswith("."):
                    members.setdefault(stem, {})[suffix] = member
            file.seek(shard.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # damage ends the list too, without a word
                raise tarfile.ReadError
            found = [_sample(shard, stem, files) for stem, files in members.items()]
    except tarfile.TarError:
        raise Trouble(f"shard {path} is damaged, cut off or no tar file: copy or write it again") from None
    return [sample for sample in found if sample is not None]


def _sample(shard: tarfile.TarFile, stem: str, files: dict[str, tarfile.TarInfo]) -> Sample | None:
    """The image among the files of one stem, with its label."""
    image = next((suffix for suffix in files if suffix.lower() in IMAGES), None)
    if image is None:
        return None
    member = files[image]
    told = next((suffix for suffix in LABELS if suffix in files), None)
    text = shard.extractfile(files[told]) if told else None
    return Sample(
        f"{stem}.{image}", member.offset_data, member.size, _label(told, text.read()) if told and text else -1
    )


def _label(kind: str, text: bytes) -> int:
    try:
        value = int(text) if kind == "cls" else json.loads(text)["label"]
    except (ValueError, KeyError, TypeError):
        return -1
    return value if type(value) is int else -1


def _chosen(samples: list[list[Sample]], shards: list[str], classes: int, most: int) -> list[EncodedImage]:
    """At most `most` images of a split, the classes taking turns."""
    from harness.data.indexed import EncodedImage

    by_class: dict[str, list[EncodedImage]] = {str(label): [] for label in range(classes)}
    for shard, of_shard in zip(shards, samples, strict=True):
        for name, first, length, label in of_shard:
            by_class[str(label)].append(EncodedImage(f"{shard}/{name}", label, length, shard, first))
    for of_class in by_class.values():
        of_class.sort(key=lambda found: class_folders.by_hash(found.name))
    return [found for found, _ in class_folders.take_turns(by_class, most)]


def _classes(root: Path, samples: dict[str, list[list[Sample]]]) -> list[str]:
    """The names of the classes; raises `Trouble` where a label is missing or names none of them."""
    every = [sample for shards in samples.values() for of_shard in shards for sample in of_shard]
    told = (root / CLASSES).read_text(encoding="utf-8").rstrip() if (root / CLASSES).is_file() else ""
    names = [line.strip() for line in told.splitlines()]
    most = len(names) or len(every)
    wrong = [sample.name for sample in every if not 0 <= sample.label < most]
    if wrong:
        first = ", ".join(wrong[:SHOWN]) + (", ..." if len(wrong) > SHOWN else "")
        needed = f".cls or .json with a label in 0 .. {most - 1}"
        raise Trouble(f"{len(wrong)} of {len(every)} images in the shards of {root} have no {needed}: {first}")
    labels = {sample.label for sample in every}
    if len(labels) < 2:
        raise Trouble(f"the shards of {root} hold images of {len(labels)} classes: at least 2 are needed")
    return names or [str(label) for label in range(max(labels) + 1)]
