"""Rows that a GPU cannot keep: they are read and sent while it works on the step before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.system.randomness import Part

Rows = tuple[Tensor, ...]
Reading = Callable[[], Rows]  # reads rows into the memory of the host


class Sent(NamedTuple):
    """Rows on their way to a GPU, and the event that ends it."""

    rows: Rows
    arrival: torch.cuda.Event


class Lane(Protocol):
    """A way to a device that is not the one of computations."""

    def send(self, rows: Rows) -> Sent:
        """Begins to send rows."""

    def take(self, sent: Sent) -> Rows:
        """The rows, for computations, which wait for their arrival. The host does not wait."""


class OwnStream:
    """A stream of the current GPU for copies. They leave from memory that cannot be swapped out."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def send(self, rows: Rows) -> Sent:
        with torch.cuda.stream(self.stream):  # also sets the GPU, which every thread has of its own
            sent = tuple(part.pin_memory().to("cuda", non_blocking=True) for part in rows)
            return Sent(sent, self.stream.record_event())

    def take(self, sent: Sent) -> Rows:
        computing = torch.cuda.current_stream()
        computing.wait_event(sent.arrival)
        for part in sent.rows:
            part.record_stream(computing)  # their memory is not given away before it is read
        return sent.rows


class Ahead:
    """The rows of the parts of steps on a device; a thread reads and sends those of the next step in advance.

    `reading(step, part)` chooses the rows and returns what reads them.
    """

    def __init__(self, reading: Callable[[int, Part], Reading], lane: Lane):
        self.reading, self.lane = reading, lane
        self.thread = ThreadPoolExecutor(1)
        self.begun: dict[tuple[int, Part], Future[Sent]] = {}

    def __call__(self, step: int, part: Part) -> Rows:
        self._cancel(lambda other: not step <= other <= step + 1)  # a jump leaves them behind
        try:
            for wanted in (step, step + 1):
                if (wanted, part) not in self.begun:
                    self.begun[wanted, part] = self.thread.submit(self._send, self.reading(wanted, part))
            return self.lane.take(self.begun.pop((step, part)).result())
        except BaseException:
            self._cancel(lambda other: True)
            raise

    def _cancel(self, selects: Callable[[int], bool]) -> None:
        for key in [key for key in self.begun if selects(key[0])]:
            self.begun.pop(key).cancel()

    def _send(self, reading: Reading) -> Sent:
        return self.lane.send(reading())
