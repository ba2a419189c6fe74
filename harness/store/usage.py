"""The disk usage of folders, and the age of their last write."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 2**20, 2**30
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Usage:
    """Bytes of all files below a folder, and the time of the last write (Unix time)."""

    bytes: int
    at: float


def usage(folder: Path) -> Usage:
    """The usage of a folder or file; other processes may write to it meanwhile."""
    size, at = 0, 0.0
    if folder.is_file():
        status = folder.lstat()
        return Usage(status.st_size, status.st_mtime)
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                size += status.st_size if path != parent else 0
                at = max(at, status.st_mtime)
    return Usage(size, at)


def age(at: float) -> str:
    """The time since `at`, in the largest unit that fits into it twice."""
    seconds = max(0.0, time.time() - at)
    unit = next((unit for unit in reversed(UNITS) if seconds >= 2 * UNITS[unit]), "s")
    return f"{seconds / UNITS[unit]:.0f} {unit}"
