"""Lists, orders, identifies and chooses images in class folders."""

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
    """One image file: its name relative to PATH (forward slashes), size in bytes, modification time in seconds."""

    name: str
    size: int
    time: int


Classes = dict[str, list[File]]
Item = TypeVar("Item")


def identity(name: str, data: Data, files: Iterable[File]) -> dict[str, Any]:
    """The recipe of a data set made from `files`: their names, sizes and times, and the settings that process them."""
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


def report_unreadable(data: Data, source: str, unreadable: list[str], total: int) -> None:
    """Raises `Trouble` for images in `source` that do not open, or prints a warning, as `data.unreadable` says."""
    if not unreadable:
        return
    first = ", ".join(unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
    message = f"{len(unreadable)} of {total} images in {source} do not open: {first}"
    if data.unreadable == "refuse":
        raise Trouble(f"{message}. To go on without them: --set data.unreadable=skip")
    print(f"warning: left out, {message}", file=sys.stderr)


def class_folders(folder: Path, root: Path) -> Classes:
    """The images in the class folders of `folder`, named relative to `root`. Class folders without images are omitted.

    Raises `Mistake` for fewer than two classes.
    """
    subfolders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not subfolders:
        raise Mistake(f"{folder} has no class folders: one folder of images per class is needed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a network disk answers many requests at a time
        listings = list(pool.map(lambda subfolder: _images(subfolder, root), subfolders))
    classes = {subfolder.name: files for subfolder, files in zip(subfolders, listings, strict=True) if files}
    if not classes:
        raise Mistake(f"no images in the folders of {folder}; needed are files that end in {' '.join(EXTENSIONS)}")
    if len(classes) < 2:
        raise Mistake(f"{folder} has images of one class only, {next(iter(classes))!r}: at least 2 are needed")
    return classes


def _images(folder: Path, root: Path) -> list[File]:
    files = []
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        subfolder = Path(parent).relative_to(root).as_posix()
        for name in names:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                status = _status(os.path.join(parent, name))
                files.append(File(f"{subfolder}/{name}", status.st_size, status.st_mtime_ns // 10**9))
    return sorted(files, key=lambda file: by_hash(file.name))


def by_hash(name: str) -> bytes:
    """A sort key that puts names in a pseudo-random but fixed order."""
    return hashlib.sha256(_bytes(name)).digest()


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError:
        return os.lstat(path)  # a broken link: it counts as a file that does not open


def _bytes(text: str) -> bytes:
    """The bytes of a file name, which need not be valid Unicode."""
    return text.encode("utf-8", "surrogateescape")


def check_same(train: Classes, val: Classes) -> None:
    """Raises `Mistake` if a class is in only one of the splits."""
    missing = [f"{name} (no val)" for name in train if name not in val]
    missing += [f"{name} (no train)" for name in val if name not in train]
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise Mistake(f"train and val must have the same classes; {len(missing)} are in only one of them: {first}")


def take_turns(classes: dict[str, list[Item]], limit: int) -> list[tuple[Item, int]]:
    """At most `limit` items with their labels: the first of every class, then the second of every class, ..."""
    labelled = [[(item, label) for item in items] for label, items in enumerate(classes.values())]
    rounds = itertools.zip_longest(*labelled)
    return list(itertools.islice((item for turn in rounds for item in turn if item), limit))
