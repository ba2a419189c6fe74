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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.data.image_files import (
    FORMATS,
    Found,
    PassedOver,
    do_not_open,
    find,
    first_of,
    is_hidden,
    is_image,
    refusal,
    shown,
)
from harness.experiments.experiment import Data
from harness.system.errors import Mistake

if TYPE_CHECKING:
    from harness.data.indexed import EncodedImage

CHUNK_IMAGES = 256


@dataclass(frozen=True)
class File:
    """One image file: its name relative to PATH (forward slashes), size in bytes, modification time in seconds."""

    name: str
    size: int
    time: int


Classes = dict[str, list[File]]


class Named(Protocol):
    """An image in a file of its own or in a shard."""

    @property
    def name(self) -> str:
        """Its name, relative to the root folder."""


Item = TypeVar("Item", bound=Named)


@dataclass(frozen=True)
class Listing:
    """The files of every class of `train` and `val`, each class in the order of hashed names, and what is not used."""

    splits: dict[str, Classes]
    passed_over: PassedOver

    @property
    def classes(self) -> list[str]:
        return list(self.splits["train"])

    @property
    def files(self) -> list[File]:
        """The files of all classes and splits."""
        return [file for classes in self.splits.values() for files in classes.values() for file in files]

    def chosen(self, data: Data, root: Path) -> Chosen:
        """The files below `root` that `data` takes. The others count as passed over."""
        from harness.data.indexed import EncodedImage

        files = choose(data, self.splits, self.passed_over)
        images = {
            split: [EncodedImage(file.name, label, file.size) for file, label in turns]
            for split, turns in files.items()
        }
        return Chosen(root, images, self.classes, self.passed_over)


@dataclass(frozen=True)
class Chosen:
    """The images that a data set takes of every split below its root folder, its classes, and what is not used."""

    root: Path
    images: dict[str, list[EncodedImage]]
    classes: list[str]
    passed_over: PassedOver


def choose(
    data: Data, splits: dict[str, dict[str, list[Item]]], passed_over: PassedOver
) -> dict[str, list[tuple[Item, int]]]:
    """At most as many items of every split as `data` sets, from the classes in turn, with their labels.

    The others count as passed over.
    """
    chosen = {}
    for split, classes in splits.items():
        turns, limit = take_turns(classes), data.limits[split]
        chosen[split] = turns[:limit]
        if beyond := turns[limit:]:
            passed_over.add(f"beyond data.{split}_images={limit}", beyond[0][0].name, len(beyond))
    return chosen


def identity_of(name: str, data: Data, listing: Listing) -> dict[str, Any]:
    """The recipe of a data set in class folders, with the number of images of every split if all of them open."""
    found = {split: sum(map(len, classes.values())) for split, classes in listing.splits.items()}
    images = {split: min(count, data.limits[split]) for split, count in found.items()}
    return identity(name, data, listing.files) | {"images": images}


def identity(name: str, data: Data, files: Iterable[File]) -> dict[str, Any]:
    """The recipe of a data set made from `files`: their names, sizes and times, and the settings that process them."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(_bytes(f"{file.name}\0{file.size}\0{file.time}\n"))
    settings = ("image_size", "crop", "background", "train_images", "val_images", "unreadable")
    return {"name": name, "manifest": digest.hexdigest(), **{field: getattr(data, field) for field in settings}}


def report_unreadable(data: Data, source: str, unreadable: dict[str, str], total: int | None) -> None:
    """Raises `Mistake` for images in `source` that do not open, or prints a warning, as `data.unreadable` says.

    `unreadable` gives the reason for every name. `total`: how many were opened; None if not all of them were.
    """
    if not unreadable:
        return
    if data.unreadable == "refuse":
        raise Mistake(f"{refusal(unreadable, total, source)}, or go on without: --set data.unreadable=skip")
    print(f"warning: left out, {do_not_open(unreadable, total, source)}", file=sys.stderr)


def facts(data: Data, source: str, chosen: Chosen, unreadable: dict[str, str]) -> dict[str, Any]:
    """What a data set says of itself. It is also printed what was passed over and what was left out as `unreadable`.

    Raises `Mistake` as `require_readable` does.
    """
    chosen.passed_over.report(source)
    require_readable(data, source, chosen, unreadable, sum(map(len, chosen.images.values())))
    named = [f"{name} ({reason})" for name, reason in unreadable.items()]
    return {"classes": chosen.classes, "unreadable": named, "passed_over": dict(chosen.passed_over.counts)}


def require_readable(data: Data, source: str, chosen: Chosen, unreadable: dict[str, str], total: int | None) -> None:
    """Raises `Mistake` for unreadable images if `data` refuses them, and for a class without a readable one in `train`.

    `unreadable` and `total` as in `report_unreadable`.
    """
    report_unreadable(data, source, unreadable, total)
    with_images = {image.label for image in chosen.images["train"] if image.name not in unreadable}
    lost = [name for label, name in enumerate(chosen.classes) if label not in with_images]
    if lost:
        of, them = ("classes", "them") if lost[1:] else ("class", "it")
        raise Mistake(f"not one image of train opens in {len(lost)} {of} of {source}: {first_of(lost)}. Remove {them}")


def of_splits(data: Data, root: Path, folders: dict[str, Path], passed_over: PassedOver) -> dict[str, Classes]:
    """The classes of every split. What lies in `root` beside the folders of the splits counts as passed over."""
    splits = {split: in_folder(data, folder, root, passed_over) for split, folder in folders.items()}
    for entry in sorted(root.iterdir()):
        if entry not in folders.values() and not is_hidden(entry.name):
            passed_over.add("beside the splits", entry.name)
    return splits


def in_folder(data: Data, folder: Path, root: Path, passed_over: PassedOver) -> Classes:
    """The images in the class folders of `folder`, named relative to `root`. What else is there counts as passed over.

    Raises `Mistake` for fewer than two classes, and, unless `data` skips them, for class folders that have no image or
    hold folders that cannot be opened.
    """
    place = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a network disk answers many requests at a time
        listed = sorted(folder.iterdir())
        subfolders = [entry.name for entry in listed if entry.is_dir() or _leads_nowhere(entry)]
        found = dict(
            zip(subfolders, pool.map(lambda name: find(folder / name, is_hidden(name)), subfolders), strict=True)
        )
        classes: Classes = {}
        for name, below in found.items():
            _require_class(data, folder / name, below)
            passed_over.update(below.passed_over, f"{place}{name}/")
            for closed in below.closed:
                passed_over.add("that cannot be opened", f"{place}{name}/{closed}")
            images = sorted((f"{place}{name}/{image}" for image in below.images), key=by_hash)
            if images:
                classes[name] = list(pool.map(lambda image: _file(root, image), images))
            elif not is_hidden(name):
                passed_over.add("that is a class without images", f"{place}{name}")
    for entry in listed:
        if entry.name not in found and (is_image(entry.name) or not is_hidden(entry.name)):
            passed_over.add("beside the class folders", place + entry.name)
    if all(map(is_hidden, subfolders)):
        raise Mistake(f"{shown(folder)} has no class folders: one folder of images per class is needed")
    if not classes:
        raise Mistake(f"no images in the folders of {shown(folder)}; {FORMATS}")
    if len(classes) < 2:
        raise Mistake(
            f"{shown(folder)} has images of one class only, {shown(next(iter(classes)))!r}: at least 2 are needed"
        )
    return classes


def _leads_nowhere(entry: Path) -> bool:
    """Whether an entry is a broken link in the place of a class folder."""
    return entry.is_symlink() and not entry.exists() and not is_image(entry.name)


def _require_class(data: Data, folder: Path, found: Found) -> None:
    """Raises `Mistake` for a class folder that yields nothing or is not readable, unless `data` skips those."""
    if is_hidden(folder.name) or data.unreadable == "skip":
        return
    remedy = "To go on without: --set data.unreadable=skip"
    if found.closed:
        raise Mistake(f"class {shown(folder)} has folders that cannot be opened: {first_of(found.closed)}. {remedy}")
    if not found.images:
        raise Mistake(f"class {shown(folder)} has no images{found.instead}; {FORMATS}. {remedy}")


def _file(root: Path, name: str) -> File:
    path = root / name
    try:
        status = path.stat()
    except OSError:
        status = path.lstat()  # a broken link: it counts as a file that does not open
    return File(name, status.st_size, status.st_mtime_ns // 10**9)


def by_hash(name: str) -> bytes:
    """A sort key that puts names in a pseudo-random but fixed order."""
    return hashlib.sha256(_bytes(name)).digest()


def _bytes(text: str) -> bytes:
    """The bytes of a file name, which need not be valid Unicode."""
    return text.encode("utf-8", "surrogateescape")


def require_classes(data: Data, splits: dict[str, dict[str, list[Item]]], passed_over: PassedOver) -> None:
    """Raises `Mistake` for fewer than two classes, or if a class gets no image of `train`.

    A class that has images in only one of the splits is refused or removed, as `data.unreadable` says.
    """
    train, val = splits["train"], splits["val"]
    missing = [f"{name} ({'no val' if files else 'no images'})" for name, files in train.items() if name not in val]
    missing += [f"{name} (no train)" for name in val if name not in train]
    if missing and data.unreadable == "refuse":
        needed = f"train and val must have the same classes; {len(missing)} are in only one of them"
        raise Mistake(f"{needed}: {first_of(missing)}. To go on without: --set data.unreadable=skip")
    for split, classes in splits.items():
        for name in classes.keys() - (train.keys() & val.keys()):
            passed_over.add(f"of {split} in classes of one split only", name, len(classes.pop(name)))
    if len(train) < 2:
        raise Mistake(f"{len(train)} of the classes have images: at least 2 are needed")
    if data.train_images < len(train):
        raise Mistake(
            f"data.train_images={data.train_images} leaves classes without an image, which would still be generated: "
            f"at least {len(train)} are needed, one of each class"
        )


def take_turns(classes: dict[str, list[Item]]) -> list[tuple[Item, int]]:
    """All items with their labels: the first of every class, then the second of every class, ..."""
    labelled = [[(item, label) for item in items] for label, items in enumerate(classes.values())]
    return [item for turn in itertools.zip_longest(*labelled) for item in turn if item]
