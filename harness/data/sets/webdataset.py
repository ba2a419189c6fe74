"""Tar shards of the library WebDataset, decoded while they are read: `--data webdataset:PATH`.

Shards are the uncompressed tar files in PATH named `train-*.tar` and `val-*.tar` (or `validation-*.tar`); a prefix is
allowed: `imagenet1k-train-0000.tar`. A sample is the files that share a name up to the last dot: an image (.jpg .jpeg
.png .webp) and its label, .cls (an integer as text) or .json ({"label": integer}). The classes are the lines of
PATH/classes.txt, or without that file the numbers up to the largest label. Shards are indexed once (the position of
each image in its shard) and then read in random order.

Keys depend on names, sizes and times of the shards and of classes.txt.
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
about = "tar shards, decoded while they are read: webdataset:PATH with train-*.tar and val-*.tar of images and labels"
attribution = ""
indexed = True

SHARD = re.compile(r"(?:.*[-_.])?(train|val|validation)(?:[-_.].*)?\.(tar|tar\.\w+|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # first bytes of gzip, bzip2, xz and zstd
IMAGES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "json")  # the first one present is used
CLASSES = "classes.txt"
CHUNK_SHARDS = 64
SHOWN = 5


class Sample(NamedTuple):
    """An image in a shard: its name, first byte, length in bytes, and label (-1 if it has none)."""

    name: str
    first: int
    length: int
    label: int


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` if PATH exists but lacks the needed shards.

    If PATH is not on this machine, a plan can still be made; its keys then depend on PATH, not on content.
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
    """Raises `Mistake` if PATH does not exist."""
    _root(data)


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Writes the index of `harness.data.indexed` into `folder`. Limits and unreadable images: as in the set `folder`.

    Raises `Trouble` for damaged shards and for images without a label.
    """
    from harness.data import indexed

    root = _root(data)
    shards = _shards(root)
    samples = {split: _scan(root, names, check_stop) for split, names in shards.items()}
    classes = _classes(root, samples)
    limits = {"train": data.train_images, "val": data.val_images}
    images = {split: _chosen(samples[split], names, len(classes), limits[split]) for split, names in shards.items()}
    unreadable = indexed.build(data, folder, root, images, quiet, check_stop)
    return {"classes": classes, "unreadable": unreadable}


def _root(data: Data) -> Path:
    needed = "--data webdataset:PATH names a folder of shards, train-*.tar and val-*.tar"
    if not data.argument:
        raise Mistake(f"data set webdataset needs a path: {needed}")
    root = Path(data.argument).expanduser()
    if not root.is_dir():
        raise Mistake(f"data set webdataset: {root.absolute()} is not a folder; {needed}")
    return root


def _shards(root: Path) -> dict[str, list[str]]:
    """The names of the shards of `train` and `val`, sorted. Raises `Mistake` if some are missing or compressed."""
    shards: dict[str, list[str]] = {"train": [], "val": []}
    for path in sorted(root.iterdir()):
        match = SHARD.fullmatch(path.name)
        if match and path.is_file():
            with path.open("rb") as file:
                compressed = file.read(8).startswith(COMPRESSED)
            if compressed or match[2].lower() != "tar":
                raise Mistake(
                    f"{path} is compressed: images are read from the middle of shards, so decompress it "
                    "(the images inside are compressed already)"
                )
            shards["train" if match[1].lower() == "train" else "val"].append(path.name)
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
    """The images in a shard, in its order. Raises `Trouble` if the shard is damaged."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
            for member in shard:
                stem, _, suffix = member.name.removeprefix("./").rpartition(".")
                if member.isfile() and stem and not stem.rpartition("/")[2].startswith("."):
                    members.setdefault(stem, {})[suffix] = member
            file.seek(shard.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # the list also ends silently at damage
                raise tarfile.ReadError
            samples = [_sample(shard, stem, files) for stem, files in members.items()]
    except tarfile.TarError:
        raise Trouble(f"shard {path} is damaged, cut off or not a tar file: copy or write it again") from None
    return [sample for sample in samples if sample is not None]


def _sample(shard: tarfile.TarFile, stem: str, files: dict[str, tarfile.TarInfo]) -> Sample | None:
    """The image among the files that share a stem, with its label; None if there is no image."""
    image = next((suffix for suffix in files if suffix.lower() in IMAGES), None)
    if image is None:
        return None
    member = files[image]
    kind = next((suffix for suffix in LABELS if suffix in files), None)
    file = shard.extractfile(files[kind]) if kind else None
    label = _label(kind, file.read()) if kind and file else -1
    return Sample(f"{stem}.{image}", member.offset_data, member.size, label)


def _label(kind: str, text: bytes) -> int:
    try:
        value = int(text) if kind == "cls" else json.loads(text)["label"]
    except (ValueError, KeyError, TypeError):
        return -1
    return value if type(value) is int else -1


def _chosen(samples: list[list[Sample]], shards: list[str], classes: int, limit: int) -> list[EncodedImage]:
    """At most `limit` images of a split, chosen from the classes in turn."""
    from harness.data.indexed import EncodedImage

    by_class: dict[str, list[EncodedImage]] = {str(label): [] for label in range(classes)}
    for shard, shard_samples in zip(shards, samples, strict=True):
        for name, first, length, label in shard_samples:
            by_class[str(label)].append(EncodedImage(f"{shard}/{name}", label, length, shard, first))
    for images in by_class.values():
        images.sort(key=lambda image: class_folders.by_hash(image.name))
    return [image for image, _ in class_folders.take_turns(by_class, limit)]


def _classes(root: Path, samples: dict[str, list[list[Sample]]]) -> list[str]:
    """The names of the classes. Raises `Trouble` if a label is missing or out of range."""
    flat = [sample for shards in samples.values() for shard_samples in shards for sample in shard_samples]
    text = (root / CLASSES).read_text(encoding="utf-8").rstrip() if (root / CLASSES).is_file() else ""
    names = [line.strip() for line in text.splitlines()]
    limit = len(names) or len(flat)
    wrong = [sample.name for sample in flat if not 0 <= sample.label < limit]
    if wrong:
        first = ", ".join(wrong[:SHOWN]) + (", ..." if len(wrong) > SHOWN else "")
        needed = f".cls or .json with a label in 0 .. {limit - 1}"
        raise Trouble(f"{len(wrong)} of {len(flat)} images in the shards of {root} have no {needed}: {first}")
    labels = {sample.label for sample in flat}
    if len(labels) < 2:
        raise Trouble(f"the shards of {root} hold images of {len(labels)} classes: at least 2 are needed")
    return names or [str(label) for label in range(max(labels) + 1)]
