"""Folders of pretrained models: new, and written as a whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from harness.system import paths
from harness.system.errors import Mistake, Trouble


class Pretrained(Protocol):
    """A model that writes its files into a folder."""

    def save_pretrained(self, save_directory: Path) -> object:
        """Makes the folder and writes all files."""


def require_new(out: Path, named: str) -> None:
    """Raises `Mistake` if `out`, which the user `named` so, is no new or empty folder, or cannot be written."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise Mistake(f"{named} exists and is not an empty folder")
    paths.require_writable(out.parent)


def write(model: Pretrained, out: Path) -> None:
    """Writes the folder `out`, which is new or empty, completely or not at all. Raises `Trouble` for a full disk."""
    from safetensors import SafetensorError

    temporary = out.with_name(paths.short_name(f".{out.name}", f".{os.getpid()}"))
    try:
        model.save_pretrained(temporary)
        temporary.rename(out)  # an empty folder is replaced
    except SafetensorError as error:  # it does so for whatever the system refuses
        raise Trouble(f"{out} is not written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def show(out: Path, named: Path) -> None:
    """Prints the files in the folder `out` with their sizes; the user `named` it so."""
    for path in sorted(out.iterdir()):
        print(f"  {named / path.name}  {path.stat().st_size:,} bytes")
