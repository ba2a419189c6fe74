"""Jobs: tasks that Submitit runs in processes of their own, here or on a cluster; and what is known of them."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.planning.stage import Execution
from harness.planning.task import Task
from harness.store.runs import FINAL, Run, Store
from harness.system import plugins
from harness.system.files import read_json, write_json
from harness.system.processes import joined

FILE = "job.json"
LOG_LINES = 5
# A job may be out of the queue while a network disk does not show its result yet.
LOST_SECONDS = 10.0
LOCK_SECONDS = 600.0  # that a job waits, on an allocation, for another command that runs the same stage
REQUEUES = 6  # attempts to be put back into the queue


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted for a run: by which executor and user, under which id, when, and where its log is."""

    executor: str
    id: str
    log: str
    at: float
    user: int

    def last_lines(self) -> list[str]:
        """The last lines of the log of every process, none where it has not begun."""
        found = []
        for path in sorted(Path(self.log).parent.glob(f"{self.id}_*_log.out")):  # the log of the first is ID_0_log.out
            lines = path.read_text(errors="replace").splitlines()
            found += [line for line in lines if line.strip()][-LOG_LINES:]
        return found


def submitted(run: Run) -> Submitted | None:
    """The last job that was submitted for `run`, if there was one."""
    try:
        return Submitted(**read_json(run.folder / FILE))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def record(run: Run, executor: str, job_id: str, log: Path) -> None:
    """Writes which job was submitted for `run`."""
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / FILE, dataclasses.asdict(Submitted(executor, job_id, str(log), time.time(), os.getuid())))


def submitting(store: Store) -> FileLock:
    """Held while jobs are submitted: who comes second finds the jobs of who came first."""
    store.root.mkdir(parents=True, exist_ok=True)
    return FileLock(store.root / ".submitting.lock")


def new_folder(store: Store) -> Path:
    """A folder for Submitit's files and the logs of what one command submits; there before a job looks for it."""
    place = store.root.absolute() / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    place.mkdir(parents=True, exist_ok=True)
    return place


@dataclass(frozen=True)
class Job:
    """One task, as Submitit pickles it and calls it in every process of a job."""

    task: Task
    root: Path
    label: str
    execution: Execution

    def __call__(self) -> None:
        """Runs the task and ends the process with an exit code that says how it went."""
        from submitit import JobEnvironment

        received: set[int] = set()
        # Submitit's own handler would save and requeue in the middle of a step. It is called once the step is over.
        requeue = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda given, frame: received.add(given))
        job = JobEnvironment()
        _tell_torch(job)
        store = Store(self.root)
        run = self.task.run_in(store)
        with joined() as processes:
            from harness.execution.worker import Place, perform
            from harness.system.machine import this_machine

            known = submitted(run)
            # Whoever submitted it may have been killed before noting it.
            if processes.first and (known is None or known.id != job.job_id):
                record(run, job.cluster, job.job_id, job.paths.stdout)
            patience = LOCK_SECONDS if job.cluster == "slurm" else math.inf
            machine = this_machine()
            place = Place(
                machine, lambda: bool(received), processes, self.execution, quiet=True, patience_seconds=patience
            )
            if processes.first:
                print(f"{self.task.stage} {self.task.key} of {self.label}: {machine}", flush=True)
            state = perform(self.task, store, self.label, place)
            told, to_requeue = processes.any(bool(received)), processes.any(signal.SIGUSR2 in received)
        if state == "done" or job.global_rank > 0:  # how it went is for the first process to say
            return
        print(f"{self.task.stage} {self.task.key}: {state}, {run.status()['reason']}", flush=True)
        if told and state not in (*FINAL, "failed"):
            if job.cluster == "slurm" and not to_requeue:
                _wait_for(signal.SIGUSR2, received)
                to_requeue = True
            if to_requeue:
                self._requeue(requeue, run)
        # Not an exception: its traceback would hide the reason at the end of the log. Not 0: what depends on it must
        # not start.
        sys.exit(1)

    def _requeue(self, requeue: Any, run: Run) -> None:
        from submitit.core.utils import UncompletedJobError

        for _ in range(REQUEUES):
            try:
                requeue(signal.SIGUSR2, None)  # exits
            except UncompletedJobError as error:  # it timed out as often as it may
                with run.lock:
                    run.set_state("failed", f"{error} Give {run.stage} more hours, or more timeouts")
                return
            except (subprocess.SubprocessError, OSError):
                # Slurm may be away for a moment. Or it ended the call with all processes of the job that it puts back:
                # whether that is in the queue again is for the queue to say, and this process will not see it.
                time.sleep(10)

    def checkpoint(self) -> Any:
        """What Submitit runs when the job comes back: the same again, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _wait_for(number: int, received: set[int]) -> None:
    """Waits for the end of the job, or of its time: a termination without more may be a preemption.

    Slurm puts a preempted job back into the queue when it has to end it, not when the job ends by itself; a cancelled
    one it ends in seconds either way.
    """
    while number not in received:
        time.sleep(1)


def _tell_torch(job: Any) -> None:
    """Sets the variables that `joined` reads."""
    if job.num_tasks == 1:
        os.environ.pop("WORLD_SIZE", None)  # of whoever submitted
        return
    from submitit.helpers import TorchDistributedEnvironment

    # Its CUDA_VISIBLE_DEVICES counts from 0 on every node and would put two jobs of a node on one GPU.
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if job.num_nodes == 1:  # the name of a laptop need not resolve
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def lost(run: Run, job: Submitted, ended: str, failed: bool) -> None:
    """Records that a job ended, where it did not say so itself in the folder of its run and no other one runs it.

    What `failed` waits to be tried again; what something else ended goes on with the next command.
    """
    try:
        run.lock.acquire(timeout=1)  # whoever looks whether it is held holds it for a moment
    except Timeout:
        return
    try:
        if run.state in ("running", "waiting"):
            run.abandon("failed" if failed else "stopped", f"its {job.executor} job {job.id} {ended}; log: {job.log}")
    finally:
        run.lock.release()


def alive(runs: Iterable[Run]) -> dict[Run, tuple[Submitted, str]]:
    """The jobs of `runs` that wait or run, of those that have no result, and the word for it; raises `Trouble`."""
    known = {run: job for run in runs if run.state not in FINAL and (job := submitted(run)) is not None}
    queue = in_queue(list(known.values()))
    return {run: (job, queue[job]) for run, job in known.items() if job in queue}


def in_queue(known: list[Submitted]) -> dict[Submitted, str]:
    """Those of `known` that wait or run, and the word of their scheduler for it; raises `Trouble`."""
    found: dict[Submitted, str] = {}
    for executor in sorted({job.executor for job in known}):
        of_executor = [job for job in known if job.executor == executor]
        states = plugins.load("harness.execution.executors", executor, "executor").queue(of_executor)
        found |= {job: states[job.id] for job in of_executor if job.id in states}
    return found


def cancel(known: list[Submitted]) -> None:
    """Ends jobs; what they were doing stays fit to go on."""
    for executor in sorted({job.executor for job in known}):
        of_executor = [job for job in known if job.executor == executor]
        plugins.load("harness.execution.executors", executor, "executor").cancel(of_executor)
