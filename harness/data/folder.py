"""Any folder of class folders: `--data folder:PATH`.

Classes are the folders in PATH that hold images, at any depth below them, in sorted order. Where PATH has the folders
`train` and `val` (or `validation`), these are the splits, with the same classes in both. Otherwise every tenth image of
each class, ordered by a hash of its name, makes `val`. Hidden files and folders are passed over.

A key stands for names, sizes and times of the files (times in whole seconds), not for PATH: copy a data set with
`cp -p` or `rsync -a` and its key stays the same.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.arrays import create
from harness.decoding import EXTENSIONS, read
from harness.errors import Mistake, Trouble
from harness.experiment import Data

if TYPE_CHECKING:
    from tqdm import tqdm

revision = 1
about = "your own images: folder:PATH with one folder per class, split or not into train and val"
attribution = ""

HELD_OUT_EVERY = 10
CHUNK_IMAGES = 256


@dataclass(frozen=True)
class File:
    """One image file: its name relative to PATH with forward slashes, its size in bytes and its time in seconds."""

    name: str
    size: int
    time: int


Classes = dict[str, list[File]]
Item = TypeVar("Item")


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` where PATH is not a folder of class folders.

    Where PATH is not on this machine a plan can still be made; its keys then stand for PATH and no content.
    """
    if data.argument and not Path(data.argument).expanduser().exists():
        return {"name": "folder", "absent": data.argument, "image_size": data.image_size}
    splits = _scan(data)
    return identity(
        "folder", data, [file for classes in splits.values() for files in classes.values() for file in files]
    )


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


def require(data: Data) -> None:
    """Raises `Mistake` where PATH is not there."""
    _root(data)


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Decode, resize and crop into `folder`: images (n, S, S, 3) uint8 and labels (n,) int64; there are no masks.

    Of every split, at most as many images as `data` says, the classes taking turns. Files that do not open raise
    `Trouble` after all have been tried, or are left out (n is then smaller) and returned as "unreadable".
    """
    from tqdm import tqdm

    splits = _scan(data)
    caps = {"train": data.train_images, "val": data.val_images}
    chosen = {split: take_turns(classes, caps[split]) for split, classes in splits.items()}
    total = sum(map(len, chosen.values()))
    unreadable: list[str] = []
    with tqdm(total=total, desc="folder", unit="image", disable=quiet or None) as progress:
        for split, files in chosen.items():
            unreadable += _write(data, folder, split, files, progress, check_stop)
    settle(data, data.argument, unreadable, total)
    return {"classes": list(splits["train"]), "unreadable": unreadable}


def settle(data: Data, place: str, unreadable: list[str], total: int) -> None:
    """Refuses, with `Trouble`, or tells that images in `place` do not open, as `data` says."""
    if not unreadable:
        return
    first = ", ".join(unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
    found = f"{len(unreadable)} of {total} images in {place} do not open: {first}"
    if data.unreadable == "refuse":
        raise Trouble(f"{found}. To go on without them: --set data.unreadable=skip")
    print(f"warning: left out, {found}", file=sys.stderr)


def _root(data: Data) -> Path:
    if not data.argument:
        raise Mistake("data set folder needs a path: --data folder:PATH")
    root = Path(data.argument).expanduser()
    if not root.is_dir():
        raise Mistake(f"data set folder: {data.argument} is not there or is not a folder")
    return root


def _scan(data: Data) -> dict[str, Classes]:
    """The files of every class of `train` and `val`, each class in the order of the hash of the names."""
    root = _root(data)
    train, val = root / "train", root / "val"
    if not val.is_dir():
        val = root / "validation"
    if train.is_dir() and val.is_dir():
        splits = {"train": class_folders(train, root), "val": class_folders(val, root)}
        check_same(splits["train"], splits["val"])
        return splits
    if train.is_dir() and any(entry.is_dir() for entry in train.iterdir()):
        raise Mistake(f"{root} has a folder train, but neither val nor validation; to split train itself, name {train}")
    return _hold_out(class_folders(root, root), root)


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


def _hold_out(classes: Classes, root: Path) -> dict[str, Classes]:
    """Every tenth file of each class, and so at least one, for `val`; the rest for `train`."""
    for name, files in classes.items():
        if len(files) < 2:
            raise Mistake(f"class {name!r} of {root} has one image only: at least 2 are needed, for train and val")
    return {
        "train": {name: [f for i, f in enumerate(fs) if i % HELD_OUT_EVERY] for name, fs in classes.items()},
        "val": {name: fs[::HELD_OUT_EVERY] for name, fs in classes.items()},
    }


def take_turns(classes: dict[str, list[Item]], most: int) -> list[tuple[Item, int]]:
    """At most `most` items with their labels: the first of every class, then the second of every class, ..."""
    labelled = [[(item, label) for item in items] for label, items in enumerate(classes.values())]
    rounds = itertools.zip_longest(*labelled)
    return list(itertools.islice((item for turn in rounds for item in turn if item), most))


def _write(
    data: Data,
    folder: Path,
    split: str,
    files: list[tuple[File, int]],
    progress: tqdm[Any],
    check_stop: Callable[[], None],
) -> list[str]:
    """Write the arrays of `split`; returns the names of the files that do not open."""
    import numpy as np

    root, side = _root(data), data.image_size
    path = folder / f"{split}_images.npy"
    images = create(path, np.uint8, (len(files), side, side, 3))
    labels: list[int] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), CHUNK_IMAGES):
            check_stop()
            chunk = files[start : start + CHUNK_IMAGES]
            decoded = pool.map(lambda item: read(root / item[0].name, side, data.crop), chunk)
            for (file, label), pixels in zip(chunk, decoded, strict=True):
                if pixels is None:
                    unreadable.append(file.name)
                else:
                    images[len(labels)] = pixels
                    labels.append(label)
                progress.update()
    images.flush()
    np.save(folder / f"{split}_labels.npy", np.array(labels, dtype=np.int64))
    if unreadable and data.unreadable == "skip":
        _trim(path, len(labels), split)
    return unreadable


def _trim(path: Path, n: int, split: str) -> None:
    """Keep the first `n` images of the array in `path`, without holding them in memory."""
    import numpy as np

    if n == 0:
        raise Trouble(f"not one image of {split} opens")
    whole = np.load(path, mmap_mode="r")
    shorter = path.with_suffix(".part.npy")
    kept = create(shorter, np.uint8, (n, *whole.shape[1:]))
    for start in range(0, n, CHUNK_IMAGES):
        stop = min(start + CHUNK_IMAGES, n)
        kept[start:stop] = whole[start:stop]
    kept.flush()
    shorter.replace(path)
