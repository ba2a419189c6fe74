"""What folders take on disk, when they were last written to, and how long ago that is."""

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
    """Of a folder that others may write to meanwhile."""
    size, at = 0, 0.0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                size += status.st_size if path != place else 0
                at = max(at, status.st_mtime)
    return Usage(size, at)


def age(at: float) -> str:
    """How long ago, in the largest unit of which there are two."""
    seconds = max(0.0, time.time() - at)
    unit = next((unit for unit in reversed(UNITS) if seconds >= 2 * UNITS[unit]), "s")
    return f"{seconds / UNITS[unit]:.0f} {unit}"
