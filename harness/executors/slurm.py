"""Tasks in jobs on a cluster, by Submitit's Slurm executor; all are submitted at once, and Slurm keeps their order.

Tasks of one stage are one array, with a bound on how many run at a time. An array whose k-th task reads what the k-th
task of another array makes waits for it task by task, so that a task that fails takes only its own row with it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness import jobs, snapshot
from harness.cluster import WARNING_SECONDS, Resources
from harness.errors import Mistake, Trouble
from harness.executors import Options, ready
from harness.jobs import Job, Submitted
from harness.plan import Task
from harness.signals import stop_on_signal
from harness.store import FINAL, Store

about = "jobs on a Slurm cluster, as cluster.toml describes them; they go on when this command ends"
LARGEST_ARRAY = 1000  # Slurm's own bound is 1001 unless set
GONE = ("GONE", "")  # Slurm forgets a job some minutes after its end
POLL_SECONDS = 1.0
# What a test says where nodes are down or drained, too, and a submission would wait for them.
DRAINED = "Requested node configuration is not available"
SLOWEST_POLL_SECONDS = 30.0
ENDED = (
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
    "REVOKED",
)


def require(planned: list[Task], options: Options) -> None:
    if not shutil.which("sbatch"):
        raise Mistake("no Slurm here: sbatch is not on PATH; --executor local runs jobs on this machine")
    stages: dict[Resources, str] = {}
    for t in planned:
        stages.setdefault(options.cluster.resources(t.stage, t.experiment.scale), t.stage)
    for resources, stage in stages.items():
        words = [f"--{name.replace('_', '-')}={value}" for name, value in _allocation(resources).items()]
        with _outside_of_jobs():
            said = subprocess.run(["sbatch", "--test-only", *words, "--wrap=true"], capture_output=True, text=True)
        if said.returncode and DRAINED not in said.stderr:
            raise Mistake(f"Slurm refuses the job of {stage}: {' '.join(said.stderr.split())}")


def execute(planned: list[Task], store: Store, labels: dict[Task, str], options: Options) -> None:
    waiting = options.to_run(planned, store)
    if not waiting:
        return
    with jobs.submitting(store):
        ids = _in_queue(waiting, store)
        fresh = [t for t in waiting if t not in ids]
        code = snapshot.take(store.root)
        if not options.quiet:
            known = f", {len(ids)} of them in the queue already" if ids else ""
            several = f"{len(waiting)} of {len(planned)} stages to run{known}"
            print(f"{several}; {snapshot.described(code)}", file=sys.stderr, flush=True)
        folder = jobs.new_folder(store)
        for alike in _levels(fresh):
            for array, dependency in _arrays(alike, ids):
                resources = options.cluster.resources(array[0].stage, array[0].experiment.scale)
                parameters = _parameters(array[0].stage, resources, dependency, code)
                calls = [Job(t, store.root.absolute(), labels[t], resources.accumulate) for t in array]
                made = _submit(calls, folder, parameters, resources.timeouts, first=not ids)
                for t, job in zip(array, made, strict=True):
                    run = t.run_in(store)
                    jobs.record(run, "slurm", job.job_id, job.paths.stdout)
                    run.set_state("waiting")  # what it said of an earlier job is over
                    ids[t] = job.job_id
    with stop_on_signal() as should_stop:
        _follow(ids, store, options.quiet, should_stop)
        if should_stop():
            print("the jobs go on without this command; python -m harness.cancel STUDY ends them", file=sys.stderr)
            raise KeyboardInterrupt


def _in_queue(tasks: list[Task], store: Store) -> dict[Task, str]:
    """The tasks that have a job in the queue, of whatever command, and its id."""
    known = {t: job for t in tasks if (job := jobs.submitted(t.run_in(store))) and job.executor == "slurm"}
    alive = jobs.in_queue(list(known.values()))
    return {t: job.id for t, job in known.items() if job in alive}


def _levels(tasks: list[Task]) -> Iterator[list[Task]]:
    """Tasks of one stage none of which needs another; what they need comes before them."""
    depth: dict[Task, int] = {}
    levels: dict[tuple[int, str], list[Task]] = {}
    for t in tasks:
        depth[t] = 1 + max((depth.get(needed, -1) for needed in t.inputs.values()), default=-1)
        levels.setdefault((depth[t], t.stage), []).append(t)
    for _, level in sorted(levels.items(), key=lambda item: item[0]):
        yield level


def _arrays(tasks: list[Task], ids: dict[Task, str]) -> Iterator[tuple[list[Task], str]]:
    """The arrays that tasks of one stage fall into, each with Slurm's name for what it waits for."""
    alike: dict[tuple[str, ...], list[Task]] = {}
    for t in tasks:
        alike.setdefault(tuple(job.partition("_")[0] for job in _needed(t, ids)), []).append(t)
    for members in alike.values():
        for start in range(0, len(members), LARGEST_ARRAY):
            array = members[start : start + LARGEST_ARRAY]
            dependency = _dependency(array, ids)
            if dependency is None:
                yield from (([t], _dependency([t], ids) or "") for t in array)
            else:
                yield array, dependency


def _needed(task: Task, ids: dict[Task, str]) -> list[str]:
    """The jobs that make what `task` reads."""
    return [ids[needed] for needed in task.inputs.values() if needed in ids]


def _dependency(array: list[Task], ids: dict[Task, str]) -> str | None:
    """What an array waits for: whole jobs, or arrays task by task; None where its tasks do not correspond."""
    found = []
    for column in zip(*(_needed(t, ids) for t in array), strict=True):
        if len(set(column)) == 1:
            found.append(f"afterok:{column[0]}")
        elif [job.partition("_")[2] for job in column] == [str(k) for k in range(len(array))]:
            found.append(f"aftercorr:{column[0].partition('_')[0]}")
        else:
            return None
    return ",".join(found)


def _allocation(resources: Resources) -> dict[str, Any]:
    """What a job takes, by the names of sbatch's options."""
    chosen = {name: getattr(resources, name) for name in ("partition", "account", "qos", "constraint")}
    return {
        **{name: value for name, value in chosen.items() if value},
        **({"gpus_per_node": resources.gpus * resources.processes} if resources.gpus else {}),
        "nodes": resources.nodes,
        "ntasks_per_node": resources.processes,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.memory_gib}G",
        "time": round(60 * resources.hours),
    }


def _parameters(stage: str, resources: Resources, dependency: str, code: Path) -> dict[str, Any]:
    """What Submitit's Slurm executor is told."""
    environment = snapshot.environment(code) | {"OMP_NUM_THREADS": str(resources.cpus)}
    return {
        **_allocation(resources),
        **({"dependency": dependency} if dependency else {}),
        "job_name": stage,
        "array_parallelism": resources.at_once,
        "signal_delay_s": WARNING_SECONDS,
        "stderr_to_stdout": True,
        "setup": [f"export {name}='{value}'" for name, value in environment.items()],
        # Since 22.05 srun does not take --cpus-per-task from sbatch; and one process that died should not leave the
        # others waiting for it.
        "srun_args": [f"--cpus-per-task={resources.cpus}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"},
    }


def _submit(calls: list[Job], folder: Path, parameters: dict[str, Any], timeouts: int, first: bool) -> list[Any]:
    """The jobs of an array; raises `Mistake` where Slurm refuses the first, `Trouble` where it refuses a later one."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder, max_num_timeout=timeouts)
    executor.update_parameters(**parameters)
    try:
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return executor.submit_array(calls) if len(calls) > 1 else [executor.submit(calls[0])]
    except (FailedJobError, FailedSubmissionError) as error:
        refused = f"Slurm refuses the job of {parameters['job_name']}: {' '.join(str(error).split())}"
        if first:
            raise Mistake(refused) from None
        raise Trouble(
            f"{refused}. It has those before; python -m harness.cancel STUDY takes them back, the same command goes on"
        ) from None


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Without the variables of a job that this command may itself run in, which sbatch would take for options."""
    from submitit.helpers import clean_env

    where = os.environ.get("SLURM_CONF")  # no variable of a job, but it begins like one
    with clean_env():
        if where is not None:
            os.environ["SLURM_CONF"] = where
        yield


def _follow(ids: dict[Task, str], store: Store, quiet: bool, should_stop: Callable[[], bool]) -> None:
    """Waits until every task has a result, has failed, or has lost its job."""
    pending, ended = dict(ids), dict[Task, float]()
    began = asked = time.monotonic()
    with tqdm(total=len(ids), unit="stage", disable=quiet) as bar:
        while pending and not should_stop():
            settled = [t for t in pending if t.run_in(store).state in (*FINAL, "failed")]
            now = time.monotonic()
            if now - asked >= min(SLOWEST_POLL_SECONDS, (now - began) / 20):
                asked, states = now, _squeue()
                for t, job in pending.items():
                    state, _ = states.get(job, GONE) if states is not None else ("UNKNOWN", "")
                    if t in settled or state not in (*ENDED, GONE[0]):
                        ended.pop(t, None)
                    elif now - ended.setdefault(t, now) >= jobs.LOST_SECONDS:
                        _lost(t, store, state)
                        settled.append(t)
            for t in settled:
                del pending[t]
                bar.update()
            time.sleep(POLL_SECONDS)


def _lost(task: Task, store: Store, state: str) -> None:
    """A job has left the queue and its run says nothing. Slurm also ends jobs whose dependencies failed: they wait."""
    run = task.run_in(store)
    job = jobs.submitted(run)
    if job is not None and ready(task, store):
        jobs.lost(run, job, "left the queue" if state == GONE[0] else f"ended as {state}", state == "CANCELLED")


def queue(submitted: list[Submitted]) -> dict[str, str]:
    states = _squeue()
    if states is None:
        raise Trouble("squeue does not answer: is this a login node of the cluster, and is Slurm up?")
    return {
        job.id: state if state != "PENDING" else f"PENDING ({reason})"
        for job in submitted
        for state, reason in [states.get(job.id, GONE)]
        if state not in (*ENDED, GONE[0])
    }


def _squeue() -> dict[str, tuple[str, str]] | None:
    """State, and reason for it, of every job of this user that Slurm remembers; None where it does not answer.

    Not Submitit's own look at jobs, which needs accounting, and not its results: a job that was put back into the queue
    may have left an error there.
    """
    command = ["squeue", "--noheader", "--all", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.strip().split("|") for line in done.stdout.splitlines() if line.count("|") == 2)
    return {job: (state, reason) for job, state, reason in lines}


def cancel(submitted: list[Submitted]) -> None:
    if submitted:
        subprocess.run(["scancel", *(job.id for job in submitted)], check=False)
