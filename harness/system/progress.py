"""The progress of a stage: a bar on standard error, and progress.json in its folder for `python -m harness.status`."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

FILE = "progress.json"
WRITE_SECONDS = 2.0


def progress_of(folder: Path) -> dict[str, Any] | None:
    """{"done", "begun", "total", "unit", "began", "at"} of the stage in `folder`; None if it has no such file."""
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return content if {"done", "begun", "total", "unit", "began", "at"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


class Progress:
    """Counts units of work up to a total. Earlier attempts did the first `begun` of them."""

    def __init__(self, folder: Path, total: int, unit: str, begun: int, label: str, quiet: bool):
        self.path, self.total, self.unit, self.begun = folder / FILE, total, unit, begun
        self.done, self.began, self.written = begun, time.time(), 0.0
        self.bar = tqdm(total=total, initial=begun, unit=unit, desc=label, disable=quiet, mininterval=0.5)

    def __enter__(self) -> Progress:
        self._write()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        self._write()

    def update(self, units: int = 1) -> None:
        """Counts more units as done."""
        self.done += units
        self.bar.update(units)
        if time.monotonic() - self.written > WRITE_SECONDS:
            self._write()

    def show(self, values: dict[str, Any]) -> None:
        """Shows values at the end of the bar."""
        self.bar.set_postfix(values, refresh=False)

    def _write(self) -> None:
        """Writes the file without a sync and without a checksum: no result depends on it."""
        self.written = time.monotonic()
        content = {"done": self.done, "begun": self.begun, "total": self.total, "unit": self.unit}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # the work itself reports a full disk
            temporary.write_text(json.dumps(content | {"began": self.began, "at": time.time()}), encoding="utf-8")
            temporary.replace(self.path)
