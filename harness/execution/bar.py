"""The bar of a command on standard error: the stages that are done, of all; the time left for all; what runs now."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from harness.execution.demand import Backlog
from harness.planning.durations import Durations
from harness.planning.task import Task
from harness.store.runs import OVER
from harness.system.progress import duration, progress_of, rate_of, say
from harness.system.texts import counted

REFRESH_SECONDS = 0.5
NAMED = 3  # running stages in the bar
FORMAT = "{n_fmt}/{total_fmt} stages{desc} |{bar}|{postfix}"  # numbers first: what does not fit is cut at the right


class StagesBar:
    """One bar for all stages of a backlog. Every stage that is done leaves a line; without a terminal that is all.

    `at_once` stages run at a time; None: nobody knows, and neither the time left.
    """

    def __init__(self, backlog: Backlog, at_once: int | None, quiet: bool):
        self.backlog, self.at_once, self.quiet = backlog, at_once, quiet
        self._running: dict[Task, float] = {}
        self._ended: set[Task] = set()
        self._refreshed = 0.0
        if not quiet:
            self._durations = Durations(backlog.store)
        live = not quiet and sys.stderr.isatty()
        self._bar = tqdm(total=self.total, bar_format=FORMAT, dynamic_ncols=True, leave=False, disable=not live)

    def __enter__(self) -> StagesBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def begin(self, task: Task) -> None:
        """A stage begins."""
        self._running[task] = time.monotonic()
        self._refreshed = 0.0
        self.refresh()

    def end(self, task: Task) -> None:
        """A stage has ended, in whichever way. What went wrong was said where it went wrong."""
        self._running.pop(task, None)
        run = task.run_in(self.backlog.store)
        if run.state in OVER or self.backlog.demand.unwanted(task):  # else it may run again
            self._ended.add(task)
        if self.quiet or run.state != "done":
            return
        self._durations.learn(run)
        rows = self.backlog.demand.labels.get(task, "")
        of_rows = f" of {rows}" if rows else ""
        left = f"; {text}" if (text := self.time_left()) else ""
        of_all = f"{len(self._ended)} of {counted(self.total, 'stage')}{self.backlog.so_far}"
        say(f"[{of_all}] {task.stage}{of_rows}: {duration(run.seconds)}{left}")

    def refresh(self) -> None:
        """Draws the bar again, if it is time. Executors call it in the middle of the work."""
        if self._bar.disable or time.monotonic() - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = time.monotonic()
        left = self.time_left()
        self._bar.n, self._bar.total = len(self._ended), self.total
        self._bar.set_description_str(self.backlog.so_far + (f", {left}" if left else ""), refresh=False)
        self._bar.set_postfix_str(", ".join(map(self._how_far, list(self._running)[:NAMED])))

    @property
    def total(self) -> int:
        """How many stages the command runs, of those that are known so far."""
        return len(self.backlog.taken)

    def time_left(self) -> str:
        """The time that all other stages take, by runs of the same stages; empty if it is not known of all of them.

        A sum over those that are known would grow with every stage that ends.
        """
        if self.at_once is None:
            return ""
        waiting = [t for t in self.backlog.taken if t not in self._ended and t not in self._running]
        each = [self._durations.seconds(t) for t in (*waiting, *self.backlog.demand.ahead())]
        each += [self._left_of(t) for t in self._running]
        known = [seconds for seconds in each if seconds is not None]
        if not known or len(known) < len(each):
            return ""
        return f"{duration(sum(known) / self.at_once)} left"

    def _left_of(self, task: Task) -> float | None:
        """The seconds that a running stage still takes, by its rate or else by earlier runs."""
        progress = progress_of(task.run_in(self.backlog.store).folder)
        if progress is not None and (rate := rate_of(progress)) is not None:
            return float((progress["total"] - progress["done"]) / rate)
        whole = self._durations.seconds(task)
        return None if whole is None else max(0.0, whole - (time.monotonic() - self._running[task]))

    def _how_far(self, task: Task) -> str:
        rows = self.backlog.demand.labels.get(task, "")
        progress = progress_of(task.run_in(self.backlog.store).folder)
        if progress is None:
            return " of ".join(filter(None, [task.stage, rows]))
        values = "".join(f", {name} {value}" for name, value in progress["shown"].items())
        return f"{task.stage} {progress['done']}/{progress['total']} {progress['unit']}s{values}, {rows}".rstrip(", ")
