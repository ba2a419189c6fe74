"""Several tasks at once on this machine, in processes that each take one after another.

A step of a small network cannot use all cores or a whole GPU, but several networks side by side can. `harness.bench`
measures the gain. Each process has its share of the cores, so results equal those of a process that is alone with as
many threads. `python -m harness.execution.together` is the program of such a process.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from harness.execution import code_copy, gpus
from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Options, ready
from harness.execution.jobs import abandon
from harness.experiments.scales import SCALES
from harness.planning.stage import Execution
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system import plugins, surroundings
from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake
from harness.system.machine import MEMORY, threads
from harness.system.progress import say
from harness.system.signals import stop_on_signal
from harness.system.texts import counted

MOST = 8  # processes by default
GIB = 2  # memory of a process
POLL_SECONDS = 0.2
SIGNAL_SECONDS = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # to a process that runs tasks


def room_for(tasks: list[Task], options: Options) -> int:
    """How many tasks like these run at a time: `--workers`, else by the scale, the cores and the memory."""
    if options.workers is not None:
        return options.workers
    small = all(t.experiment.scale in SCALES and SCALES[t.experiment.scale].small for t in tasks)
    room = int(psutil.virtual_memory().available / 2**30 / GIB)
    return max(1, min(MOST, threads(), room)) if small else 1


def processes_for(tasks: list[Task], options: Options) -> int:
    """How many processes share these tasks. Tasks of one experiment wait for each other: one process is enough."""
    return max(1, min(room_for(tasks, options), len({t.experiment for t in tasks})))


def execute(backlog: Backlog, waiting: list[Task], processes: int) -> None:
    """Runs `waiting` and what else the demand wants meanwhile, in `processes` processes."""
    demand, store, options = backlog.demand, backlog.store, backlog.options
    share = max(1, threads() // processes)
    if not options.quiet:
        each = f"{processes} at a time with {counted(share, 'thread')} each"
        print(f"{backlog.summary}, {each}", file=sys.stderr, flush=True)
    with stop_on_signal() as should_stop, contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(helping(store, share, slot)) for slot in range(processes)]
        bar = stack.enter_context(StagesBar(backlog, processes, options.quiet))
        while True:
            for helper in helpers:
                busy = [h.task for h in helpers]
                startable = (t for t in waiting if ready(t, store) and t not in busy)
                if helper.task is None and not should_stop() and (task := next(startable, None)) is not None:
                    waiting.remove(task)
                    resources = options.cluster.resources(task.stage, task.experiment.scale)
                    helper.begin(task, demand.labels.get(task, ""), resources.execution)
                    bar.begin(task)
            working = [h for h in helpers if h.task is not None]
            if not working:
                break
            answered, ended = connection.wait([h.answers for h in working], POLL_SECONDS), []
            for helper in working:
                if helper.answers in answered:
                    ended.append(settle(helper, store, "stopped"))
                    bar.end(ended[-1])
                elif should_stop() or (helper.task is not None and demand.unwanted(helper.task)):
                    helper.stop()
            for slot, helper in enumerate(helpers):
                if helper.task is None and helper.process.poll() is not None and not should_stop():
                    helpers[slot] = stack.enter_context(helping(store, share, slot))
            waiting = backlog.refilled(waiting, ended)
            bar.refresh()
    if should_stop():
        raise KeyboardInterrupt


@dataclass
class Helper:
    """A process that runs tasks, the task that it runs, and when that was last told to stop."""

    process: subprocess.Popen[bytes]
    task: Task | None = None
    told_at: float = -math.inf

    @property
    def answers(self) -> Any:
        """The pipe that has something to read once the task is over or the process is gone."""
        return self.process.stdout

    def begin(self, task: Task, label: str, execution: Execution, patience_seconds: float = math.inf) -> None:
        """Sends a task to the process, and how long that waits for another command that runs the same stage."""
        self.task, self.told_at = task, -math.inf
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process is gone; its answer says so
            pickle.dump((task, label, execution, patience_seconds), self.process.stdin)
            self.process.stdin.flush()

    def stop(self) -> None:
        """Stops the task at its next step. A process that has not begun it misses the signal, which is repeated."""
        if time.monotonic() - self.told_at > SIGNAL_SECONDS:
            self.process.send_signal(signal.SIGUSR1)
            self.told_at = time.monotonic()


def settle(helper: Helper, store: Store, outcome: str) -> Task:
    """Ends the task of a process that has answered. If it is gone without an answer, `outcome` is that of the task."""
    task, helper.task = helper.task, None
    assert task is not None
    if helper.answers.read(1):
        return task
    helper.process.wait()
    goes_on = ": the same command goes on" if outcome == "stopped" else ""
    run, reason = task.run_in(store), f"its process ended with code {helper.process.returncode}{goes_on}"
    if abandon(run, ("running", "waiting"), outcome, reason):
        say(f"{run.stage} {run.key} {outcome}: {reason}")
    return task


@contextlib.contextmanager
def helping(store: Store, share: int, slot: int) -> Iterator[Helper]:
    """A process with `share` threads for tasks. It ends at its next step when this one ends, however it does."""
    environment = {**os.environ, **code_copy.environment(CHECKOUT), **MEMORY, "OMP_NUM_THREADS": str(share)}
    with contextlib.suppress(Mistake):  # GPUs without numbers: all processes see all of them
        if assigned := gpus.in_turn(1, slot):
            environment["CUDA_VISIBLE_DEVICES"] = str(assigned[0])
    command = [sys.executable, "-m", "harness.execution.together", str(store.root.absolute())]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the process inherits this, until it has its handlers
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        yield Helper(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # it ends when it asks for the next task
        if sys.exc_info()[0] is not None:
            process.kill()
        process.wait()
        process.stdout.close()


def serve(root: Path, tasks: BinaryIO, answers: int) -> None:
    """Runs the tasks that come in, until none comes any more; writes one byte to `answers` after each."""
    from harness.execution.worker import Place, perform
    from harness.system.machine import this_machine

    plugins.find(quiet=True)
    stop: set[int] = set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all its processes; the command decides
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):  # Slurm sends its signals to all processes of a job
        signal.signal(number, lambda signum, frame: stop.add(signum))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    parent, machine, store = os.getppid(), this_machine(), Store(root)
    while True:
        try:
            task, label, execution, patience_seconds = pickle.load(tasks)
        except EOFError:
            return
        stop.clear()
        place = Place(
            machine,
            lambda: bool(stop) or os.getppid() != parent,
            execution=execution,
            quiet=True,
            patience_seconds=patience_seconds,
        )
        perform(task, store, label, place)
        os.write(answers, b".")


if __name__ == "__main__":
    surroundings.prepare()
    pipe = os.dup(1)
    os.dup2(2, 1)  # what a task prints is no answer
    serve(Path(sys.argv[1]), sys.stdin.buffer, pipe)
