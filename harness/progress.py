"""How far a stage is: a bar on standard error, and progress.json in its folder for `python -m harness.status`."""

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
WRITE_SECONDS = 2.0


def progress_of(folder: Path) -> dict[str, Any] | None:
    """{"done", "begun", "total", "unit", "began", "at"} of the stage in `folder`; None where it has not said."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
        return found if {"done", "begun", "total", "unit", "began", "at"} <= found.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


class Progress:
    """Units done of a total. `begun` of them were done in an earlier attempt."""

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
        """So many more are done."""
        self.done += units
        self.bar.update(units)
        if time.monotonic() - self.written > WRITE_SECONDS:
            self._write()

    def show(self, values: dict[str, Any]) -> None:
        """What the bar ends with."""
        self.bar.set_postfix(values, refresh=False)

    def _write(self) -> None:
        """Not synced and without a checksum: it is a sign of life, and no result rests on it."""
        self.written = time.monotonic()
        content = {"done": self.done, "begun": self.begun, "total": self.total, "unit": self.unit}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk is for the work itself to notice
            temporary.write_text(json.dumps(content | {"began": self.began, "at": time.time()}))
            temporary.replace(self.path)


class TrialLines:
    """Lines about trials on standard error: one for each that runs, kept up to date, and one that stays when it ends.

    Not `live` where stages show a bar of their own.
    """

    MOST = 8

    def __init__(self, quiet: bool, live: bool):
        self.quiet, self.live, self._bars = quiet, live and not quiet, list[tqdm]()

    def __enter__(self) -> TrialLines:
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars:
            bar.close()

    def show(self, trials: dict[int, str]) -> None:
        """What the first trials are at, by number."""
        shown = [f"trial {number}, {text}" for number, text in trials.items()][: self.MOST]
        while len(self._bars) < len(shown):
            self._bars.append(tqdm(bar_format="{desc}", position=len(self._bars) + 1, leave=False))
        for k, bar in enumerate(self._bars):
            bar.set_description_str(shown[k] if k < len(shown) else "")

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)
