"""The curves of a run: metrics.csv, with step, metric and value over time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

CURVES = "metrics.csv"
HEADER = "step,metric,value\n"
TAIL_BYTES = 4096  # the last values are read from this much of the end of the file


class Entry(NamedTuple):
    """One logged value."""

    step: int
    metric: str
    value: float


@dataclass(frozen=True)
class Curves:
    """The file of curves at `path`. Readers skip an unfinished line."""

    path: Path

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values of metrics at a step."""
        lines = [f"{step},{name},{float(value)!r}\n" for name, value in values.items()]
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(lines if file.tell() else [HEADER, *lines])

    def mark(self) -> dict[str, Any]:
        """The length of the file in bytes and the checksum of its content; checkpoints store them."""
        content = self._content()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def rewind(self, mark: dict[str, Any] | None = None) -> None:
        """Removes the lines after a mark, or all lines.

        Raises ValueError if the lines before the mark are damaged.
        """
        content, size = self._content(), mark["bytes"] if mark else 0
        if mark and hashlib.sha256(content[:size]).hexdigest() != mark["sha256"]:
            raise ValueError(f"{self.path} does not match its checksum")
        if len(content) > size:
            os.truncate(self.path, size)

    def history(self, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in the order of the log."""
        return [(entry.step, entry.value) for entry in self.entries() if entry.metric == metric]

    def entries(self) -> Iterator[Entry]:
        """All logged values, in order."""
        return _parsed(self._content().decode(errors="replace").splitlines()[1:])

    def last(self) -> dict[str, float]:
        """The last value of every metric in the last `TAIL_BYTES` of the file; the cost does not grow with the file."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[1:]  # the first one is cut or the header
        except OSError:
            return {}
        return {entry.metric: entry.value for entry in _parsed(lines)}

    def frame(self) -> pd.DataFrame:
        """A table with one row per step and one column per metric; empty if nothing was logged."""
        import pandas as pd

        frame = pd.DataFrame(self.entries(), columns=Entry._fields)
        return frame.pivot_table(index="step", columns="metric", values="value") if len(frame) else pd.DataFrame()

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""


def _parsed(lines: list[str]) -> Iterator[Entry]:
    for line in lines:
        try:
            step, metric, value = line.split(",")
            yield Entry(int(step), metric, float(value))
        except ValueError:  # an unfinished line
            continue
