"""Finds the image files below a folder, by one rule for all commands, and counts what it passes over.

- Image files have a suffix of a format that Pillow decodes without the help of another program.
- Links are followed. A link to a folder that contains it, or that is read already, is passed over.
- Hidden files and folders, and those that an operating system leaves behind, are passed over.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.system.errors import Mistake
from harness.system.texts import and_more, counted, printable

CHUNK_FILES = 64  # most files that are read ahead
HIDDEN = "hidden"
FROM_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information", "@eadir")
FORMATS = "needed are image files, such as .jpg .png .webp .gif .tif"
OTHER_PROGRAMS = ("EPS", "MPEG")  # Pillow gives EPS to Ghostscript and decodes no MPEG


@dataclass
class PassedOver:
    """Files and folders that are not used: their numbers by reason, and the first name of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        self.counts[reason] += count
        self.first.setdefault(reason, name)

    def update(self, other: PassedOver, place: str = "") -> None:
        """Adds what `other` counted; its names are relative to `place`."""
        for reason, count in other.counts.items():
            self.add(reason, place + other.first[reason], count)

    def report(self, source: str) -> None:
        """Prints what of `source` is not used, if there is anything."""
        if self.counts:
            print(f"passed over in {source}: {self}", file=sys.stderr)

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason} ({shown(self.first[reason])})" for reason, count in self.counts.items())


@dataclass
class Found:
    """The names of the image files below a folder (forward slashes), what was passed over, and closed folders."""

    images: list[str] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    closed: list[str] = field(default_factory=list)

    @property
    def instead(self) -> str:
        """What was passed over, for a sentence on images that are missing."""
        return f", but {self.passed_over}" if self.passed_over.counts else ""


def shown(name: str | Path) -> str:
    """A name as printable text: it may not be valid Unicode, and it may have control characters."""
    return printable(os.fsencode(name).decode(errors="replace"))


def refusal(unreadable: Mapping[str, str], total: int | None = None, source: str | Path = "") -> str:
    """What all commands say of image files that do not open, and what to do about them."""
    text = do_not_open(unreadable, total, source)
    return f"{text}. Replace or remove {'it' if len(unreadable) == 1 else 'them'}"


def do_not_open(unreadable: Mapping[str, str], total: int | None = None, source: str | Path = "") -> str:
    """The sentence for image files that do not open: `unreadable` gives the reason for every name.

    `total` counts the files that were tried; None if not all of them were.
    """
    count = len(unreadable)
    number = counted(count, "image") if total is None else f"{count:,} of {counted(total, 'image')}"
    place = f" in {shown(source)}" if source else ""
    first = first_of(f"{name} ({reason})" for name, reason in unreadable.items())
    return f"{number}{place} {'does' if count == 1 else 'do'} not open: {first}"


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A sort key that puts 2 before 10. Names that differ only by leading zeros come in the order of their text."""
    parts = re.split(r"([0-9]+)", name)  # every second one is a number
    return [(True, int(part), "") if k % 2 else (False, 0, part) for k, part in enumerate(parts)], name


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of all formats that Pillow decodes by itself, in lower case, with their dots."""
    from PIL import Image, ImageFile

    Image.init()
    readers = {name: reader for name, (reader, _) in Image.OPEN.items() if name not in OTHER_PROGRAMS}
    stubs = {name for name, reader in readers.items() if _is_stub(reader, ImageFile.StubImageFile)}
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readers.keys() - stubs)


def _is_stub(reader: object, stub: type) -> bool:
    """Whether Pillow knows a format by its header only."""
    return isinstance(reader, type) and issubclass(reader, stub)


def is_image(name: str) -> bool:
    """Whether a file of this name is an image by its suffix."""
    return os.path.splitext(name)[1].lower() in suffixes()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or was left behind by an operating system."""
    return name.startswith(".") or name.lower() in FROM_SYSTEMS


def why_not(name: str) -> str:
    """The reason to pass over a file that is no image by its suffix."""
    suffix = os.path.splitext(name)[1].lower()
    return f"ending in {shown(suffix)}" if suffix else "without a suffix"


def require(folder: Path) -> Found:
    """The image files at any depth. Raises `Mistake` if there are none, or if a folder cannot be opened."""
    found = find(folder)
    if found.closed:
        raise Mistake(f"{shown(folder)} has folders that cannot be opened: {first_of(found.closed)}")
    if not found.images:
        raise Mistake(f"no images in {shown(folder)}{found.instead}; {FORMATS}")
    return found


def find(folder: Path, hidden: bool = False) -> Found:
    """The image files at any depth. With `hidden` the folder itself is hidden, so that nothing in it is used.

    Hidden files count as passed over if they are images by their suffix. Broken links are image files if their suffix
    says so. Folders that cannot be opened are `closed`.
    """
    found = Found()
    waiting = [(str(folder), "", hidden, frozenset[tuple[int, int]]())]
    seen: set[tuple[int, int]] = set()
    while waiting:
        path, prefix, concealed, above = waiting.pop()
        try:
            status = os.stat(path)
            here = (status.st_dev, status.st_ino)
            if here in above:
                found.passed_over.add("linked to a folder above", prefix.rstrip("/"))
                continue
            if here in seen:  # links that lead to one another would be followed in every order
                found.passed_over.add("linked to a folder that is read already", prefix.rstrip("/"))
                continue
            seen.add(here)
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not concealed:
                found.closed.append(f"{prefix.rstrip('/') or '.'} ({error.strerror})")
            continue
        for entry in listed:
            name, aside = prefix + entry.name, concealed or is_hidden(entry.name)
            if _is_folder(entry):
                waiting.append((entry.path, f"{name}/", aside, above | {here}))
            else:
                _sort(found, entry, name, aside)
    return found


def _sort(found: Found, entry: os.DirEntry[str], name: str, hidden: bool) -> None:
    """Counts a file among the images or among the files that are passed over."""
    image, broken = is_image(entry.name), _is_broken(entry)
    if hidden:
        if image:
            found.passed_over.add(HIDDEN, name)
    elif not broken and not _is_file(entry):
        found.passed_over.add("neither file nor folder", name)
    elif image:
        found.images.append(name)
    else:
        found.passed_over.add("linked to nothing" if broken else why_not(entry.name), name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_broken(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def first_of(names: Iterable[str], limit: int = 5) -> str:
    """The first names as text, and how many more there are."""
    return and_more(list(map(shown, names)), limit)
