"""Tasks in jobs on this machine, several at a time, by Submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from harness.execution import code_copy, gpus, jobs
from harness.execution.bar import StagesBar
from harness.execution.demand import WORKERS, Backlog, Demand, Options, ready
from harness.execution.jobs import Job, SubmittedJob
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system.errors import Mistake
from harness.system.machine import cores
from harness.system.signals import stop_on_signal

about = "several at a time on this machine (--workers), each in separate processes"
POLL_SECONDS = 0.2
SIGNAL_SECONDS = 5.0
YEAR_MINUTES = 365 * 24 * 60  # Submitit ends a job after two minutes by default


def require(waiting: list[Task], store: Store, options: Options) -> None:
    most = max(options.cluster.resources(t.stage, t.experiment.scale).processes for t in waiting)
    if 0 < len(gpus.visible()) < most:
        raise Mistake(f"{most} processes do not fit on {len(gpus.visible())} GPUs: cluster.toml asks for too many")


def at_once(tasks: list[Task], options: Options) -> int:
    return _workers(options)


def _workers(options: Options) -> int:
    return options.workers or WORKERS


def execute(demand: Demand, store: Store, options: Options) -> None:
    backlog = Backlog(demand, store, options)
    waiting = backlog.fresh()
    if not waiting:
        return
    code, folder = code_copy.take(store.root), jobs.new_folder(store)
    if not options.quiet:
        print(
            f"{backlog.summary}, {_workers(options)} at a time; {code_copy.described(code)}",
            file=sys.stderr,
            flush=True,
        )
    running: dict[Task, tuple[Any, int]] = {}
    slots, signalled = list(range(_workers(options))), dict[Task, float]()
    with stop_on_signal() as should_stop, StagesBar(backlog, _workers(options), options.quiet) as bar:
        while True:
            # A task that was given up and is wanted again waits for the end of its old job.
            startable = [t for t in waiting if ready(t, store) and t not in running]
            for task in startable[: 0 if should_stop() else len(slots)]:
                waiting.remove(task)
                running[task] = _start(task, store, demand.labels[task], options, slots[0], folder, code), slots[0]
                slots.pop(0)
                bar.begin(task)
            if not running:
                break
            while not (ended := [t for t, (job, _) in running.items() if job.done() and not _orphans(job.job_id)]):
                for t in running:
                    # A job that is just starting may miss the signal.
                    if (should_stop() or demand.unwanted(t)) and time.monotonic() - signalled.get(
                        t, 0.0
                    ) > SIGNAL_SECONDS:
                        signalled[t] = time.monotonic()
                        cancel([known] if (known := jobs.submitted(t.run_in(store))) is not None else [])
                bar.refresh()
                time.sleep(POLL_SECONDS)
            for task in ended:
                slots.append(running.pop(task)[1])
                run = task.run_in(store)
                if (known := jobs.submitted(run)) is not None and ready(task, store):
                    # A kill is trouble from outside: the same command goes on.
                    jobs.lost(run, known, "was killed, or ended without a word", failed=False)
                signalled.pop(task, None)
                bar.end(task)
            waiting = backlog.refilled(waiting, ended)
    if should_stop():
        raise KeyboardInterrupt


def _start(task: Task, store: Store, label: str, options: Options, slot: int, folder: Path, code: Path) -> Any:
    import submitit

    resources = options.cluster.resources(task.stage, task.experiment.scale)
    executor = submitit.LocalExecutor(folder)
    assigned = gpus.in_turn(resources.processes, slot)
    executor.update_parameters(
        timeout_min=YEAR_MINUTES,
        tasks_per_node=resources.processes,
        stderr_to_stdout=True,
        gpus_per_node=len(assigned),
        visible_gpus=assigned,
    )
    with _environment(code, _workers(options) * resources.processes):
        job = executor.submit(Job(task, store.root.absolute(), label, resources.execution))
    jobs.record(task.run_in(store), "local", job.job_id, job.paths.stdout)
    return job


@contextlib.contextmanager
def _environment(code: Path, processes: int) -> Iterator[None]:
    """The environment of jobs: the copy of the code, their share of the cores, and no interrupt from the terminal.

    The terminal sends Ctrl-C to all of its processes. Submitit would end a job a second later, in the middle of a step.
    """
    threads = max(1, cores() // processes)
    before = dict(os.environ)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # jobs inherit this; here the signal only waits
    os.environ |= code_copy.environment(code) | {"OMP_NUM_THREADS": str(threads)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def queue(submitted: list[SubmittedJob]) -> dict[str, str]:
    return {job.id: "RUNNING" for job in submitted if _controller(job) is not None}


def cancel(submitted: list[SubmittedJob]) -> None:
    for job in submitted:
        if (controller := _controller(job)) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                controller.terminate()  # it ends the processes of the job, and then itself


def _orphans(number: str) -> bool:
    """Whether processes of a job work on although Submitit's process behind it is gone; they get a signal to stop."""
    orphans = False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real != os.getuid() or "submitit.core._submit" not in process.cmdline():
                continue
            if process.environ().get("SUBMITIT_LOCAL_JOB_ID") == number and process.status() != psutil.STATUS_ZOMBIE:
                process.terminate()  # it saves its state
                orphans = True
    return orphans


def _controller(job: SubmittedJob) -> psutil.Process | None:
    """Submitit's process behind a job, if it is alive. Another process may have its id by now."""
    try:
        process = psutil.Process(int(job.id))
        alive = process.status() != psutil.STATUS_ZOMBIE and "submitit.local._local" in process.cmdline()
    except psutil.Error:
        return None
    return process if alive else None
