"""Tasks one after another in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from harness.plan import Task, unfinished
from harness.store import Store


def execute(planned: list[Task], store: Store, labels: dict[Task, str], quiet: bool = False) -> None:
    """Runs what is unfinished of `planned`, inputs first. A task whose input failed is left; the others go on.

    Raises `KeyboardInterrupt` once a signal asked to stop and the running stage has saved what it needs to go on.
    """
    waiting = unfinished(planned, store)
    if not waiting:
        return
    from harness.machine import this_machine
    from harness.worker import perform

    machine = this_machine()
    if not quiet:
        print(f"{len(waiting)} of {len(planned)} stages to run on: {machine}", file=sys.stderr, flush=True)
    with _stop_on_signal() as should_stop:
        for number, task in enumerate(waiting, 1):
            if all(needed.run_in(store).state == "done" for needed in task.inputs.values()):
                label = f"[{number}/{len(waiting)}] {task.stage} {labels[task]}"
                perform(task, store, machine, label, should_stop, quiet)
            if should_stop():
                raise KeyboardInterrupt


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """The first interrupt or termination asks to stop at the next step, the second stops at once."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping at the next step; once more stops at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
