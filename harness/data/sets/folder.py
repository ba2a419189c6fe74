"""Any folder of class folders: `--data folder:PATH`.

Classes are the folders in PATH, in sorted order; each holds images at any depth. If PATH has the folders `train` and
`val` (or `validation`), these are the splits; both have the same classes. Otherwise `val` is every tenth image of each
class, in the order of a hash of the name. `harness.data.image_files` says which files are images.

A key depends on names, sizes and times (in whole seconds) of the files, not on PATH: a copy made with `cp -p` or
`rsync -a` keeps the key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data import class_folders
from harness.data.class_folders import CHUNK_IMAGES, Chosen, Classes, Listing, facts, identity_of
from harness.data.decoding import read
from harness.data.image_files import PassedOver, shown
from harness.experiments.experiment import Data
from harness.system.errors import Mistake
from harness.system.files import create

if TYPE_CHECKING:
    from tqdm import tqdm

    from harness.data.indexed import EncodedImage


revision = 2
own = True
held_out = "without the folders train and val, every tenth image of a class is of val"
about = "your own images: folder:PATH with one folder per class, split or not into train and val"
attribution = ""


HELD_OUT_EVERY = 10


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` if PATH is not a folder of class folders.

    If PATH is not on this machine, a plan can still be made; its keys then depend on PATH, not on content.
    """
    if data.argument and not Path(data.argument).expanduser().exists():
        return {"name": "folder", "absent": data.argument, "image_size": data.image_size}
    return identity_of("folder", data, _scan(data))


def require(data: Data) -> None:
    """Raises `Mistake` if PATH does not exist."""
    _root(data)


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Decodes, resizes and crops into `folder`: images (n, S, S, 3) uint8 and labels (n,) int64; no masks.

    `data` limits the images of every split; they are chosen from the classes in turn. After all files are tried,
    those that do not open raise `Mistake`, or are left out (n is then smaller) and returned as "unreadable". What else
    is not used is printed and returned as "passed_over", numbers by reason.
    """
    from tqdm import tqdm

    taken = chosen(data)
    unreadable: dict[str, str] = {}
    total = sum(map(len, taken.images.values()))
    with tqdm(total=total, desc="folder", unit="image", leave=False, disable=quiet or None) as progress:
        for split, images in taken.images.items():
            unreadable |= _write(data, folder, split, images, progress, check_stop)
    return facts(data, data.argument, taken, unreadable)


def chosen(data: Data, check_stop: Callable[[], None] = lambda: None) -> Chosen:
    """The images that `build` opens."""
    return _scan(data).chosen(data, _root(data))


def _root(data: Data) -> Path:
    if not data.argument:
        raise Mistake("data set folder needs a path: --data folder:PATH")
    root = Path(data.argument).expanduser()
    if not root.is_dir():
        raise Mistake(f"data set folder: {data.argument} is not there or is not a folder")
    return root


def _scan(data: Data) -> Listing:
    root = _root(data)
    train, val = root / "train", root / "val"
    if not val.is_dir():
        val = root / "validation"
    passed_over = PassedOver()
    if train.is_dir() and val.is_dir():
        splits = class_folders.of_splits(data, root, {"train": train, "val": val}, passed_over)
    elif train.is_dir() and any(entry.is_dir() for entry in train.iterdir()):
        raise Mistake(f"{root} has a folder train, but neither val nor validation; to split train itself, use {train}")
    else:
        splits = _hold_out(class_folders.in_folder(data, root, root, passed_over), root)
    class_folders.require_classes(data, splits, passed_over)
    return Listing(splits, passed_over)


def _hold_out(classes: Classes, root: Path) -> dict[str, Classes]:
    """Every tenth file of each class, so at least one, goes to `val`, the rest to `train`."""
    for name, files in classes.items():
        if len(files) < 2:
            raise Mistake(
                f"class {shown(name)!r} of {shown(root)} has one image only: at least 2 are needed, for train and val"
            )
    return {
        "train": {name: [f for i, f in enumerate(fs) if i % HELD_OUT_EVERY] for name, fs in classes.items()},
        "val": {name: fs[::HELD_OUT_EVERY] for name, fs in classes.items()},
    }


def _write(
    data: Data,
    folder: Path,
    split: str,
    files: list[EncodedImage],
    progress: tqdm[Any],
    check_stop: Callable[[], None],
) -> dict[str, str]:
    """Writes the arrays of `split`; returns the names of the files that do not open, with the reasons."""
    import numpy as np

    root, side = _root(data), data.image_size
    path = folder / f"{split}_images.npy"
    images = create(path, np.uint8, (len(files), side, side, 3))
    labels: list[int] = []
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), CHUNK_IMAGES):
            check_stop()
            chunk = files[start : start + CHUNK_IMAGES]
            decoded = pool.map(lambda file: read(root / file.name, side, data.crop, data.background), chunk)
            for file, pixels in zip(chunk, decoded, strict=True):
                if isinstance(pixels, str):
                    unreadable[file.name] = pixels
                else:
                    images[len(labels)] = pixels
                    labels.append(file.label)
                progress.update()
    images.flush()
    np.save(folder / f"{split}_labels.npy", np.array(labels, dtype=np.int64))
    if unreadable and data.unreadable == "skip":
        _trim(path, len(labels), split)
    return unreadable


def _trim(path: Path, n: int, split: str) -> None:
    """Keeps the first `n` images of the array in `path`, without loading them into memory."""
    import numpy as np

    if n == 0:
        raise Mistake(f"not one image of {split} opens")
    whole = np.load(path, mmap_mode="r")
    shorter = path.with_suffix(".part.npy")
    kept = create(shorter, np.uint8, (n, *whole.shape[1:]))
    for start in range(0, n, CHUNK_IMAGES):
        stop = min(start + CHUNK_IMAGES, n)
        kept[start:stop] = whole[start:stop]
    kept.flush()
    shorter.replace(path)
