"""What steps need in advance: work that is begun while another step is made, and rows that a GPU cannot keep."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from harness.system.randomness import Part

Rows = tuple[Tensor, ...]
Reading = Callable[[], Rows]  # reads rows into the memory of the host
Result = TypeVar("Result")
Made = TypeVar("Made", covariant=True)


class Begun(Protocol[Made]):
    """Work that somebody else does."""

    def result(self) -> Made:
        """Waits for the result. Raises what went wrong."""

    def cancel(self) -> object:
        """Drops what has not begun."""


class InAdvance(Generic[Result]):
    """The results of work for the parts of steps, which `begin(step, part)` begins some steps in advance."""

    def __init__(self, begin: Callable[[int, Part], Begun[Result]]):
        self.begin = begin
        self.begun: dict[tuple[int, Part], Begun[Result]] = {}

    def take(self, step: int, part: Part, steps: int, kept: int) -> Result:
        """The result for a part of a step; begins those of its next `steps`.

        What lies outside of the next `kept` steps is cancelled: a jump leaves it behind. A failure cancels everything.
        """
        self._cancel(lambda other: not step <= other <= step + kept)
        try:
            for later in range(step, step + steps + 1):
                if (later, part) not in self.begun:
                    self.begun[later, part] = self.begin(later, part)
            return self.begun.pop((step, part)).result()
        except BaseException:
            self._cancel(lambda other: True)
            raise

    def _cancel(self, selects: Callable[[int], bool]) -> None:
        """Cancels the work of the steps that `selects` accepts."""
        for key in [key for key in self.begun if selects(key[0])]:
            self.begun.pop(key).cancel()


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


class Ahead(InAdvance[Sent]):
    """The rows of the parts of steps on a device; a thread reads and sends those of the next step in advance.

    `reading(step, part)` chooses the rows and returns what reads them.
    """

    def __init__(self, reading: Callable[[int, Part], Reading], lane: Lane):
        thread = ThreadPoolExecutor(1)
        super().__init__(lambda step, part: thread.submit(_sent, lane, reading(step, part)))
        self.lane = lane

    def __call__(self, step: int, part: Part) -> Rows:
        return self.lane.take(self.take(step, part, steps=1, kept=1))


def _sent(lane: Lane, reading: Reading) -> Sent:
    return lane.send(reading())
