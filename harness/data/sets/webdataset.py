"""Tar shards of the library WebDataset, decoded while they are read: `--data webdataset:PATH`.

Shards are the uncompressed tar files in PATH named `train-*.tar` and `val-*.tar` (or `validation-*.tar`); a prefix is
allowed: `imagenet1k-train-0000.tar`. A sample is the files that share a name up to the last dot: an image (by the rule
of `harness.data.image_files`) and its label, .cls (an integer as text) or .json ({"label": integer}). The classes are
the lines of PATH/classes.txt, the first of which is label 0; without that file they are the labels that occur. Shards
are indexed once (the position of each image in its shard) and then read in random order.

Keys depend on names, sizes and times of the shards and of classes.txt.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.data import class_folders
from harness.data.class_folders import Chosen, File
from harness.data.image_files import HIDDEN, PassedOver, first_of, is_hidden, is_image, shown, why_not
from harness.experiments.experiment import Data
from harness.system.errors import Mistake, Trouble
from harness.system.machine import cores

if TYPE_CHECKING:
    from harness.data.indexed import EncodedImage

revision = 2
about = "tar shards, decoded while they are read: webdataset:PATH with train-*.tar and val-*.tar of images and labels"
attribution = ""
indexed = True

SHARD = re.compile(r"(?:.*[-_.])?(train|val|validation)(?:[-_.].*)?\.(tar|tar\.\w+|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # first bytes of gzip, bzip2, xz and zstd
LABELS = ("cls", "json")  # the first one present is used
CLASSES = "classes.txt"
CHUNK_SHARDS = 16


class Sample(NamedTuple):
    """An image in a shard: its name in the shard, first byte, length in bytes, and label (-1 if it has none)."""

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
    names = [name for shards in _shards(root, PassedOver()).values() for name in shards]
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

    taken = chosen(data, check_stop)
    unreadable = indexed.build(data, folder, taken.root, taken.images, quiet, check_stop)
    return class_folders.facts(data, str(taken.root), taken, unreadable)


def chosen(data: Data, check_stop: Callable[[], None] = lambda: None) -> Chosen:
    """The images that `build` opens, after all shards were looked through. Raises `Trouble` as `build` does."""
    root, passed_over = _root(data), PassedOver()
    shards = _shards(root, passed_over)
    samples = {split: _scan(root, names, passed_over, check_stop) for split, names in shards.items()}
    splits = _by_class(root, samples)
    class_folders.require_classes(data, splits, passed_over)
    turns = class_folders.choose(data, splits, passed_over)
    images = {split: [replace(image, label=label) for image, label in of_split] for split, of_split in turns.items()}
    return Chosen(root, images, list(splits["train"]), passed_over)


def _root(data: Data) -> Path:
    needed = "--data webdataset:PATH names a folder of shards, train-*.tar and val-*.tar"
    if not data.argument:
        raise Mistake(f"data set webdataset needs a path: {needed}")
    root = Path(data.argument).expanduser()
    if not root.is_dir():
        raise Mistake(f"data set webdataset: {root.absolute()} is not a folder; {needed}")
    return root


def _shards(root: Path, passed_over: PassedOver) -> dict[str, list[str]]:
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
        elif path.name != CLASSES and not is_hidden(path.name):
            passed_over.add("beside the shards", path.name)
    for split, names in shards.items():
        if not names:
            raise Mistake(f"data set webdataset: {root.absolute()} has no shards {split}-*.tar")
    return shards


def _scan(
    root: Path, shards: list[str], passed_over: PassedOver, check_stop: Callable[[], None]
) -> dict[str, list[Sample]]:
    """The samples of every shard."""
    scanned: dict[str, list[Sample]] = {}
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(shards), CHUNK_SHARDS):
            check_stop()
            chunk = shards[start : start + CHUNK_SHARDS]
            for name, (samples, aside) in zip(chunk, pool.map(lambda name: _samples(root / name), chunk), strict=True):
                scanned[name] = samples
                passed_over.update(aside, f"{name}/")
    return scanned


def _samples(path: Path) -> tuple[list[Sample], PassedOver]:
    """The images in a shard, in its order, and what is not used. Raises `Trouble` if the shard is damaged."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    passed_over = PassedOver()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
            for member in shard:
                name = member.name.removeprefix("./")
                stem, _, suffix = name.rpartition(".")
                if any(map(is_hidden, name.split("/"))):
                    if is_image(name):
                        passed_over.add(HIDDEN, name)
                elif not member.isfile():
                    if not member.isdir():
                        passed_over.add("linked inside a shard", name)
                elif not stem:
                    passed_over.add(why_not(name), name)
                elif suffix in members.setdefault(stem, {}):
                    passed_over.add("of the name of another file in the shard", name)
                else:
                    members[stem][suffix] = member
            file.seek(shard.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # the list also ends silently at damage
                raise tarfile.ReadError
            samples = [_sample(shard, stem, files, passed_over) for stem, files in members.items()]
    except tarfile.TarError:
        raise Trouble(f"shard {shown(path)} is damaged, cut off or not a tar file: copy or write it again") from None
    return [sample for sample in samples if sample is not None], passed_over


def _sample(
    shard: tarfile.TarFile, stem: str, files: dict[str, tarfile.TarInfo], passed_over: PassedOver
) -> Sample | None:
    """The image among the files that share a stem, with its label; None if there is no image."""
    images = [suffix for suffix in files if is_image(f"{stem}.{suffix}")]
    kinds = {suffix.lower(): suffix for suffix in files}
    kind = next((kind for kind in LABELS if kind in kinds), None)
    for suffix in files:
        if suffix in images[1:]:
            passed_over.add("of a sample with another image", f"{stem}.{suffix}")
        elif suffix not in images and (kind is None or suffix != kinds[kind] or not images):
            passed_over.add(why_not(f"{stem}.{suffix}"), f"{stem}.{suffix}")
    if not images:
        return None
    member = files[images[0]]
    file = shard.extractfile(files[kinds[kind]]) if kind else None
    label = _label(kind, file.read()) if kind and file else -1
    return Sample(f"{stem}.{images[0]}", member.offset_data, member.size, label)


def _label(kind: str, text: bytes) -> int:
    try:
        value = int(text) if kind == "cls" else json.loads(text)["label"]
    except (ValueError, KeyError, TypeError):
        return -1
    return value if type(value) is int else -1


def _by_class(root: Path, samples: dict[str, dict[str, list[Sample]]]) -> dict[str, dict[str, list[EncodedImage]]]:
    """The images of every split and class, each class in the order of hashed names.

    Without classes.txt the classes of a split are the labels that occur in it. Raises `Trouble` if a label is missing
    or beyond classes.txt.
    """
    from harness.data.indexed import EncodedImage

    named = _class_names(root)
    splits: dict[str, dict[str, list[EncodedImage]]] = {}
    wrong, total = [], 0
    for split, shards in samples.items():
        by_label: dict[int, list[EncodedImage]] = {}
        for shard, shard_samples in shards.items():
            total += len(shard_samples)
            for name, first, length, label in shard_samples:
                if label < 0 or (named and label >= len(named)):
                    wrong.append(f"{name} ({label})" if label >= 0 else name)
                image = EncodedImage(f"{shard}/{name}", label, length, shard, first)
                by_label.setdefault(label, []).append(image)
        splits[split] = {
            named[label] if named and 0 <= label < len(named) else str(label): sorted(
                by_label[label], key=lambda image: class_folders.by_hash(image.name)
            )
            for label in sorted(by_label)
        }
    if wrong:
        limit = f" in 0 .. {len(named) - 1}, the lines of {CLASSES}" if named else ""
        needed = f"{len(wrong)} of {total} images in the shards of {shown(root)} have no .cls or .json with a label"
        raise Trouble(f"{needed}{limit}: {first_of(wrong)}")
    if named:  # a class without images is refused or skipped like an empty folder
        missing = [name for name in named if not any(name in classes for classes in splits.values())]
        splits["train"] |= {name: [] for name in missing}
    return splits


def _class_names(root: Path) -> list[str]:
    """The lines of classes.txt; empty without that file. Raises `Mistake` for names that are not unique."""
    path = root / CLASSES
    if not path.is_file():
        return []
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except UnicodeDecodeError:
        raise Mistake(f"{shown(path)} is not UTF-8") from None
    if len(set(names)) < len(names) or "" in names:
        raise Mistake(f"{shown(path)} has empty or repeated lines: one name per class is needed")
    return names
