"""The progress of a stage in progress.json in its folder, which the bar of a command and `harness.status` read."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

FILE = "progress.json"
KEYS = {"done", "begun", "total", "unit", "shown", "began", "at"}
WRITE_SECONDS = 1.0
CLEAR = "\r\x1b[K"  # the line of a terminal


def progress_of(folder: Path) -> dict[str, Any] | None:
    """The progress of the stage in `folder`, by `KEYS`; None if it has no such file."""
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return content if content.keys() >= KEYS else None
    except (OSError, ValueError, AttributeError):
        return None


def rate_of(progress: dict[str, Any]) -> float | None:
    """Units per second of this attempt; None if it has done none yet."""
    units, seconds = progress["done"] - progress["begun"], progress["at"] - progress["began"]
    return units / seconds if units > 0 and seconds > 0 else None


def say(text: str) -> None:
    """Prints a line on standard error, above the bar if there is one, be it of this process or of its parent."""
    if sys.stderr.isatty():
        tqdm.write(f"{CLEAR}{text}", file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


class Progress:
    """Counts units of work up to a total. Earlier attempts did the first `begun` of them."""

    def __init__(self, folder: Path, total: int, unit: str, begun: int):
        self.path, self.total, self.unit, self.begun = folder / FILE, total, unit, begun
        self.done, self.began, self.written = begun, time.time(), 0.0
        self.shown: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._write()
        return self

    def __exit__(self, *error: object) -> None:
        self._write()

    def update(self, units: int = 1) -> None:
        """Counts more units as done."""
        self.done += units
        if time.monotonic() - self.written > WRITE_SECONDS:
            self._write()

    def show(self, values: dict[str, Any]) -> None:
        """Shows values beside the progress."""
        self.shown = values

    def _write(self) -> None:
        """Writes the file without a sync and without a checksum: no result depends on it."""
        self.written = time.monotonic()
        content = {"done": self.done, "begun": self.begun, "total": self.total, "unit": self.unit}
        times = {"shown": self.shown, "began": self.began, "at": time.time()}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # the work itself reports a full disk
            temporary.write_text(json.dumps(content | times), encoding="utf-8")
            temporary.replace(self.path)
