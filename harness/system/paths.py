"""Names of files and folders on the command line: the types of options, and checks before anything is written."""

from __future__ import annotations

import argparse
import errno
import os
import tempfile
from pathlib import Path

from harness.system.errors import Mistake

FULL = (errno.ENOSPC, errno.EDQUOT)
NAME_BYTES, PATH_BYTES = 255, 4095  # the longest name of a file and the longest path, on Linux and nearly everywhere
SHOWN = 20  # letters of a name that is too long


def path(text: str) -> Path:
    """The type of an option that names a file or a folder; `~` is the home folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name")
    named = Path(text).expanduser()
    if why := why_too_long(named):
        raise argparse.ArgumentTypeError(why)
    return named


def why_too_long(place: Path) -> str:
    """Why no disk takes a path, in words; "" if it is short enough."""
    for name in place.parts:
        if (size := len(os.fsencode(name))) > NAME_BYTES:
            return f"{name[:SHOWN]}... is a name of {size} bytes: at most {NAME_BYTES} are possible"
    if (size := len(os.fsencode(place.absolute()))) > PATH_BYTES:
        return f"{str(place)[:SHOWN]}... is a path of {size} bytes: at most {PATH_BYTES} are possible"
    return ""


def short_name(stem: str, suffix: str) -> str:
    """The name of a file, `stem` and `suffix`; the stem loses letters at its end if a disk would not take the name."""
    while stem and len(os.fsencode(stem + suffix)) > NAME_BYTES:
        stem = stem[:-1]
    return stem + suffix


def from_here(text: str) -> str:
    """A path as a command in the working folder names it: without that folder if it lies in it; other text as it is."""
    here = Path.cwd()
    return str(Path(text).relative_to(here)) if Path(text).is_relative_to(here) else text


def store_path(text: str) -> Path:
    """The type of `--runs`; the name is written into job scripts."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} has characters that cannot be printed")
    return folder(text)


def folder(text: str) -> Path:
    """The type of an option that names a folder, which may be made: nothing else may be in its place."""
    named = path(text)
    if not (nearest := _nearest(named)).is_dir():
        raise argparse.ArgumentTypeError(f"{nearest} is not a folder")
    return named


def _nearest(place: Path) -> Path:
    """The place itself if something is there, else the nearest folder above it."""
    whole = place.absolute()
    return next((part for part in (whole, *whole.parents) if os.path.lexists(part)), Path(whole.anchor))


def require_writable(*folders: Path) -> None:
    """Raises `Mistake` unless files can be made in the folders, or the folders themselves. It leaves nothing there.

    A full disk passes: what is written says so, and goes on when there is room.
    """
    for named in folders:
        if not (nearest := _nearest(named)).is_dir():
            raise Mistake(f"{named} cannot be written: {nearest} is not a folder")
        try:
            with tempfile.TemporaryFile(dir=nearest):  # rights alone do not tell: root has them everywhere
                pass
        except OSError as error:
            if error.errno not in FULL:
                raise Mistake(f"{named} cannot be written: {nearest} takes no files ({error.strerror})") from None


def make_folders(*folders: Path) -> None:
    """Makes the folders that a command writes to. Raises `Mistake` if that is not possible."""
    require_writable(*folders)
    for named in folders:
        try:
            named.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"{named} cannot be made: {error.strerror}") from None


def require_new_file(path: Path) -> None:
    """Raises `Mistake` if `path` cannot be written, or is there already."""
    if path.is_dir():
        raise Mistake(f"{path} is a folder: give the name of a file to write")
    if os.path.lexists(path):
        raise Mistake(f"{path} exists already: choose another file, or remove it")
    if not path.parent.is_dir():
        raise Mistake(f"{path} cannot be written: {path.parent} does not exist or is not a folder")
    require_writable(path.parent)


def location(text: str) -> str:
    """The type of `--storage`: a URL or the name of a file."""
    return text if "://" in text else str(path(text))
