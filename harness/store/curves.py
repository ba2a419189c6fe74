"""The curves of a run: metrics.csv, with step, metric and value over time."""

from __future__ import annotations

import csv
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
TAIL_BYTES = 4096  # of the file, which the last values are read from


class Logged(NamedTuple):
    """One logged value."""

    step: int
    metric: str
    value: float


@dataclass(frozen=True)
class Curves:
    """The file of curves at `path`. Readers pass over a line that is just being written."""

    path: Path

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values of metrics at a step."""
        lines = [f"{step},{name},{float(value)!r}\n" for name, value in values.items()]
        with self.path.open("a") as file:
            file.writelines(lines if file.tell() else [HEADER, *lines])

    def mark(self) -> dict[str, Any]:
        """The length of the file in bytes, and the checksum of its content: what a checkpoint keeps of it."""
        content = self._content()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def rewind(self, mark: dict[str, Any] | None = None) -> None:
        """Cuts off what was logged after a mark, or everything.

        Raises ValueError where what was logged before the mark is damaged.
        """
        content, size = self._content(), mark["bytes"] if mark else 0
        if mark and hashlib.sha256(content[:size]).hexdigest() != mark["sha256"]:
            raise ValueError(f"{self.path} is not what was written")
        if len(content) > size:
            os.truncate(self.path, size)

    def of(self, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in the order in which they were logged."""
        return [(logged.step, logged.value) for logged in self.every() if logged.metric == metric]

    def every(self) -> Iterator[Logged]:
        """Everything that was logged, in order."""
        return _parsed(self._content().decode(errors="replace").splitlines()[1:])

    def last(self) -> dict[str, float]:
        """The last value of every metric at the end of the file, whose size does not matter."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[1:]  # the first may be cut, or the header
        except OSError:
            return {}
        return {logged.metric: logged.value for logged in _parsed(lines)}

    def frame(self) -> pd.DataFrame:
        """Index step, a column a metric; empty where nothing was logged."""
        import pandas as pd

        frame = pd.DataFrame(self.every(), columns=Logged._fields)
        return frame.pivot_table(index="step", columns="metric", values="value") if len(frame) else pd.DataFrame()

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""


def _parsed(lines: list[str]) -> Iterator[Logged]:
    for line in csv.reader(lines):
        try:
            step, metric, value = line
            yield Logged(int(step), metric, float(value))
        except ValueError:  # it is being written
            continue
