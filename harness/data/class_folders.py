"""Images in class folders: how they are listed, ordered, identified and chosen."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.data.decoding import EXTENSIONS
from harness.experiments.experiment import Data
from harness.system.errors import Mistake, Trouble

CHUNK_IMAGES = 256


@dataclass(frozen=True)
class File:
    """One image file: its name relative to PATH with forward slashes, its size in bytes and its time in seconds."""

    name: str
    size: int
    time: int


Classes = dict[str, list[File]]
Item = TypeVar("Item")


def identity(name: str, data: Data, files: Iterable[File]) -> dict[str, Any]:
    """The recipe of a data set that is made of `files`: their names, sizes and times, and what is made of them."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(_bytes(f"{file.name}\0{file.size}\0{file.time}\n"))
    return {
        "name": name,
        "manifest": digest.hexdigest(),
        "image_size": data.image_size,
        "crop": data.crop,
        "train_images": data.train_images,
        "val_images": data.val_images,
        "unreadable": data.unreadable,
    }


def settle(data: Data, place: str, unreadable: list[str], total: int) -> None:
    """Refuses, with `Trouble`, or tells that images in `place` do not open, as `data` says."""
    if not unreadable:
        return
    first = ", ".join(unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
    found = f"{len(unreadable)} of {total} images in {place} do not open: {first}"
    if data.unreadable == "refuse":
        raise Trouble(f"{found}. To go on without them: --set data.unreadable=skip")
    print(f"warning: left out, {found}", file=sys.stderr)


def class_folders(folder: Path, root: Path) -> Classes:
    """The images in the class folders of `folder` below `root`; class folders without an image are left out."""
    subfolders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not subfolders:
        raise Mistake(f"{folder} has no class folders: one folder of images per class is needed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a network disk answers many at a time
        found = list(pool.map(lambda subfolder: _images(subfolder, root), subfolders))
    classes = {subfolder.name: files for subfolder, files in zip(subfolders, found, strict=True) if files}
    if not classes:
        raise Mistake(f"no images in the folders of {folder}; looked for {' '.join(EXTENSIONS)}")
    if len(classes) < 2:
        raise Mistake(f"{folder} has images of one class only, {next(iter(classes))!r}: at least 2 are needed")
    return classes


def _images(folder: Path, root: Path) -> list[File]:
    files = []
    for parent, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        place = Path(parent).relative_to(root).as_posix()
        for name in names:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                status = _status(os.path.join(parent, name))
                files.append(File(f"{place}/{name}", status.st_size, status.st_mtime_ns // 10**9))
    return sorted(files, key=lambda file: by_hash(file.name))


def by_hash(name: str) -> bytes:
    """What puts names in an order that has nothing to do with them."""
    return hashlib.sha256(_bytes(name)).digest()


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError:
        return os.lstat(path)  # a link to nothing: one of the files that do not open


def _bytes(text: str) -> bytes:
    """File names need not be valid Unicode."""
    return text.encode("utf-8", "surrogateescape")


def check_same(train: Classes, val: Classes) -> None:
    """Raises `Mistake` where a class is in one of the splits only."""
    missing = [f"{name} (no val)" for name in train if name not in val]
    missing += [f"{name} (no train)" for name in val if name not in train]
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise Mistake(f"train and val must have the same classes; {len(missing)} are in one only: {first}")


def take_turns(classes: dict[str, list[Item]], most: int) -> list[tuple[Item, int]]:
    """At most `most` items with their labels: the first of every class, then the second of every class, ..."""
    labelled = [[(item, label) for item in items] for label, items in enumerate(classes.values())]
    rounds = itertools.zip_longest(*labelled)
    return list(itertools.islice((item for turn in rounds for item in turn if item), most))
