"""Names of files and folders on the command line: the types of options, and checks before anything is written."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness.system.errors import Mistake


def path(text: str) -> Path:
    """The type of an option that names a file or a folder; `~` is the home folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name")
    return Path(text).expanduser()


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
    nearest = next((place for place in (named.absolute(), *named.absolute().parents) if os.path.lexists(place)), named)
    if os.path.lexists(nearest) and not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"{nearest} is not a folder")
    return named


def make_folders(*folders: Path) -> None:
    """Makes the folders that a command writes to. Raises `Mistake` if that is not possible."""
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
    if not os.access(path.parent, os.W_OK):
        raise Mistake(f"{path} cannot be written: no write access to {path.parent}")


def location(text: str) -> str:
    """The type of `--storage`: a URL or the name of a file."""
    return text if "://" in text else str(path(text))
