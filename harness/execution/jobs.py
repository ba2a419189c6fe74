"""Jobs: tasks that Submitit runs in separate processes, on this machine or on a cluster; and their state."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.execution.demand import ready
from harness.planning.stage import Execution
from harness.planning.task import Task
from harness.store.runs import FINAL, OVER, Run, Store
from harness.system import plugins
from harness.system.files import read_json, write_json
from harness.system.processes import joined

FILE = "job.json"
LOG_LINES = 5
# When a job leaves the queue, a network disk may not show its result yet.
LOST_SECONDS = 10.0
LOCK_SECONDS = 600.0  # a job on an allocation waits so long for another command that runs the same stage
REQUEUES = 6  # attempts to put a job back into the queue


@dataclass(frozen=True)
class SubmittedJob:
    """A job that was submitted for a run: its executor, id, log, time of submission (Unix time) and user."""

    executor: str
    id: str
    log: str
    at: float
    user: int

    def last_lines(self) -> list[str]:
        """The last lines of the log of every process; none before the job has begun."""
        last = []
        for path in sorted(Path(self.log).parent.glob(f"{self.id}_*_log.out")):  # the log of the first is ID_0_log.out
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            last += [line for line in lines if line.strip()][-LOG_LINES:]
        return last


def submitted(run: Run) -> SubmittedJob | None:
    """The last job that was submitted for `run`, if any."""
    try:
        return SubmittedJob(**read_json(run.folder / FILE))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def record(run: Run, executor: str, job_id: str, log: Path) -> None:
    """Records the job that was submitted for `run`."""
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(
        run.folder / FILE, dataclasses.asdict(SubmittedJob(executor, job_id, str(log), time.time(), os.getuid()))
    )


def submitting(store: Store) -> FileLock:
    """The lock for submitting jobs: a second command waits for it and then finds the jobs of the first."""
    store.root.mkdir(parents=True, exist_ok=True)
    return FileLock(store.root / ".submitting.lock")


def new_folder(store: Store) -> Path:
    """A new folder for the logs and Submitit's files of one command. It exists before a job looks for it."""
    folder = store.root.absolute() / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Job:
    """One task, as Submitit pickles it and calls it in every process of a job."""

    task: Task
    root: Path
    label: str
    execution: Execution

    @property
    def run(self) -> Run:
        """The run folder of the task."""
        return self.task.run_in(Store(self.root))

    def __call__(self) -> None:
        """Runs the task and ends the process with an exit code that says how it went."""
        from submitit import JobEnvironment

        plugins.find(quiet=True)
        notices, job = Notices.awaited(), JobEnvironment()
        set_torch_variables(job)
        run = self.run
        with joined() as processes:
            from harness.execution.worker import Place, perform
            from harness.system.machine import this_machine

            if processes.first:
                self.record(job)
            if not processes.from_first(bool(ready_soon([self])) if processes.first else False):
                sys.exit(1)
            machine = this_machine()
            place = Place(
                machine,
                lambda: notices.any,
                processes,
                self.execution,
                quiet=True,
                patience_seconds=patience_seconds(job),
            )
            if processes.first:
                print(f"{self.task.stage} {self.task.key} of {self.label}: {machine}", flush=True)
            state = perform(self.task, Store(self.root), self.label, place)
            signalled, to_requeue = processes.any(notices.any), processes.any(notices.to_requeue)
        if state == "done" or job.global_rank > 0:  # the first process reports the outcome
            return
        print(f"{self.task.stage} {self.task.key}: {state}, {run.status()['reason']}", flush=True)
        if signalled and state not in OVER:
            notices.end(job, [run], to_requeue)
        # Not an exception: its traceback would hide the reason at the end of the log. Not 0: jobs that depend on
        # it must not start.
        sys.exit(1)

    def record(self, job: Any) -> None:
        """Records the job in the run: the command that submitted it may have been killed before it did."""
        known = submitted(self.run)
        if known is None or known.id != job.job_id:
            record(self.run, job.cluster, job.job_id, job.paths.stdout)

    def checkpoint(self) -> Any:
        """Submitit runs the result when the job comes back: the same job, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def patience_seconds(job: Any) -> float:
    """How long a job waits for another command that runs the same stage."""
    return LOCK_SECONDS if job.cluster == "slurm" else math.inf


def ready_soon(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose inputs are done. A network disk may show that late, so inputs without an outcome get some time."""

    def undecided(job: Job) -> bool:
        states = {needed.run_in(Store(job.root)).state for needed in job.task.inputs.values()}
        return not states <= {"done"} and not states & {"failed", "diverged", "damaged"}

    deadline = time.monotonic() + LOST_SECONDS
    while any(map(undecided, jobs)) and time.monotonic() < deadline:
        time.sleep(1)
    found = [job for job in jobs if ready(job.task, Store(job.root))]
    for job in jobs:
        if job not in found:
            print(f"{job.task.stage} {job.task.key} of {job.label}: an input is not done", flush=True)
    return found


@dataclass(frozen=True)
class Notices:
    """The signals to a job that it has to end, and Submitit's own handler for them.

    That handler would save and requeue in the middle of a step. It is called once the step is over.
    """

    received: set[int]
    requeue: Any

    @classmethod
    def awaited(cls) -> Notices:
        """Takes up signals from now on."""
        notices = cls(set(), signal.getsignal(signal.SIGUSR2))
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda signum, frame: notices.received.add(signum))
        return notices

    @property
    def any(self) -> bool:
        """Whether the job has to end."""
        return bool(self.received)

    @property
    def to_requeue(self) -> bool:
        """Whether the job may go back into the queue by itself."""
        return signal.SIGUSR2 in self.received

    def end(self, job: Any, unfinished: list[Run], to_requeue: bool) -> None:
        """Puts the job back into the queue if it may go there, which ends this process.

        A SIGTERM alone may be a preemption. Slurm puts a preempted job back into the queue if it has to end the job,
        not if the job ends by itself. It ends a cancelled job in seconds either way.
        """
        while job.cluster == "slurm" and not (to_requeue or self.to_requeue):
            time.sleep(1)
        if to_requeue or self.to_requeue:
            self._requeue(unfinished)

    def _requeue(self, unfinished: list[Run]) -> None:
        from submitit.core.utils import UncompletedJobError

        for _ in range(REQUEUES):
            try:
                self.requeue(signal.SIGUSR2, None)  # exits
            except UncompletedJobError as error:  # it timed out as often as it may
                for run in unfinished:
                    with run.lock:
                        run.set_state("failed", f"{error} Give {run.stage} more hours, or more timeouts")
                return
            except (subprocess.SubprocessError, OSError):
                # Slurm may be away for a moment. Or it requeued the job and ended the call with the job's processes:
                # then this process ends too, and cannot see that the job is in the queue again.
                time.sleep(10)


def set_torch_variables(job: Any) -> None:
    """Sets the variables that `joined` reads."""
    if job.num_tasks == 1:
        os.environ.pop("WORLD_SIZE", None)  # inherited from the submitting process
        return
    from submitit.helpers import TorchDistributedEnvironment

    # Its CUDA_VISIBLE_DEVICES counts from 0 on every node and would put two jobs of a node on one GPU.
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if job.num_nodes == 1:  # a laptop's host name may not resolve
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def lost(run: Run, job: SubmittedJob, ended: str, failed: bool) -> None:
    """Records that a job ended, unless its run has an outcome or another process runs it.

    A `failed` run waits for a retry. A run that something else ended goes on with the next command.
    """
    reason = f"its {job.executor} job {job.id} {ended}; log: {job.log}"
    abandon(run, ("running", "waiting"), "failed" if failed else "stopped", reason)


def abandon(run: Run, states: tuple[str, ...], outcome: str, reason: str) -> bool:
    """Ends a run whose process is gone, if it is in one of `states` and no other process runs it; whether it did."""
    try:
        run.lock.acquire(timeout=1)  # a process that tests the lock holds it for a moment
    except Timeout:
        return False
    try:
        if abandoned := run.state in states:
            run.abandon(outcome, reason)
        return abandoned
    finally:
        run.lock.release()


def alive(runs: Iterable[Run]) -> dict[Run, tuple[SubmittedJob, str]]:
    """The jobs of unfinished `runs` that wait or run, and the state that the scheduler reports. Raises `Trouble`."""
    known = {run: job for run in runs if run.state not in FINAL and (job := submitted(run)) is not None}
    queue = in_queue(list(known.values()))
    return {run: (job, queue[job]) for run, job in known.items() if job in queue}


def in_queue(known: list[SubmittedJob]) -> dict[SubmittedJob, str]:
    """The jobs of `known` that wait or run, and the state that the scheduler reports. Raises `Trouble`."""
    queued: dict[SubmittedJob, str] = {}
    for executor in sorted({job.executor for job in known}):
        of_executor = [job for job in known if job.executor == executor]
        states = plugins.load("harness.execution.executors", executor, "executor").queue(of_executor)
        queued |= {job: states[job.id] for job in of_executor if job.id in states}
    return queued


def cancel(known: list[SubmittedJob]) -> None:
    """Ends jobs. Their runs can go on later."""
    for executor in sorted({job.executor for job in known}):
        of_executor = [job for job in known if job.executor == executor]
        plugins.load("harness.execution.executors", executor, "executor").cancel(of_executor)
