"""Tasks as jobs on a cluster, by Submitit's Slurm executor. All are submitted at once, and Slurm keeps their order.

The tasks of one stage form an array, with a limit on how many run at a time. If the k-th job of an array reads the
result of the k-th job of another array, the arrays are linked job by job: a task that fails stops only its own row.
A job has one task, or as many as the cluster file lets run side by side (`together`).
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.execution import code_copy, jobs
from harness.execution.bar import StagesBar
from harness.execution.demand import Backlog, Demand, Options, ready
from harness.execution.group import Group
from harness.execution.jobs import Job, SubmittedJob
from harness.planning.cluster import Resources
from harness.planning.task import Task
from harness.store.runs import OVER, Store
from harness.system.errors import Mistake, Trouble
from harness.system.signals import stop_on_signal
from harness.system.texts import as_typed

about = "jobs on a Slurm cluster, as cluster.toml describes them; they go on when this command ends"
LARGEST_ARRAY = 1000  # Slurm's own bound is 1001 unless set
POLL_SECONDS = 1.0
# The answers of sbatch: a refusal; nodes that are down or drained, so that a submission would wait for them; no
# controller; no configuration of any Slurm.
REFUSED, DRAINED = "allocation failure", "Requested node configuration is not available"
AWAY = "Unable to contact slurm controller"
NOWHERE = "Could not establish a configuration source"
FATAL = "fatal:"
NO_SLURM, INSTEAD = "no Slurm here", "--executor local runs jobs on this machine"
SLOWEST_POLL_SECONDS = 30.0
ENDED = (
    "GONE",  # not a state of Slurm: it forgets a job some minutes after its end
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


def require(waiting: list[Task], store: Store, options: Options) -> None:
    if not shutil.which("sbatch"):
        raise Mistake(f"{NO_SLURM}: sbatch is not on PATH; {INSTEAD}")
    if {"\\", "%"} & set(str(store.root.absolute())):
        raise Mistake(f"{store.root}: Slurm reads \\ and % in the name of a folder in a way of its own; choose another")
    stages: dict[Resources, str] = {}
    for t in waiting:
        stages.setdefault(options.cluster.resources(t.stage, t.experiment.scale), t.stage)
    for resources, stage in stages.items():
        words = [f"--{name.replace('_', '-')}={value}" for name, value in _allocation(resources).items()]
        command = ["sbatch", "--test-only", *words, "--wrap=true"]
        with _outside_of_jobs():
            answer = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", check=False
            ).stderr
        if AWAY in answer:
            raise Trouble(f"Slurm does not answer: {' '.join(answer.split())}")
        if NOWHERE in answer:
            raise Mistake(f"{NO_SLURM}: sbatch finds no configuration; {INSTEAD}")
        if FATAL in answer or (REFUSED in answer and DRAINED not in answer):
            raise Mistake(f"Slurm refuses the job of {stage}: {' '.join(answer.split())}")


def at_once(tasks: list[Task], options: Options) -> int | None:
    return None


def execute(demand: Demand, store: Store, options: Options) -> None:
    backlog = Backlog(demand, store, options)
    if not (fresh := backlog.fresh()):
        return
    with stop_on_signal() as should_stop:
        _follow(fresh, backlog, options, should_stop)
        if should_stop():
            print(
                as_typed("the jobs go on without this command; python -m harness.cancel STUDY ends them"),
                file=sys.stderr,
            )
            raise KeyboardInterrupt


def _submit(
    fresh: list[Task], backlog: Backlog, options: Options, first: bool, should_stop: Callable[[], bool]
) -> tuple[dict[Task, str], bool]:
    """The job id of each task of `fresh`, of a job in the queue or a new one; and whether any job is new."""
    store = backlog.store
    with jobs.submitting(store):
        ids = _in_queue(list(backlog.taken), store)
        # Only now: a task whose job has just left the queue has its result.
        waiting = options.to_run(fresh, store, backlog.taken)
        submitted = {t: ids[t] for t in waiting if t in ids}
        code = code_copy.take(store.root)
        if not options.quiet:
            several = f"{backlog.summary}{f', {len(submitted)} of them in the queue already' if submitted else ''}"
            print(f"{several}; {code_copy.described(code)}", file=sys.stderr, flush=True)
        new = [t for t in waiting if t not in ids]
        for array in _submissions(new, ids, backlog, options, code, first and not ids):
            submitted |= array
            ids |= array
            if should_stop():
                break
    return submitted, bool(new)


def _submissions(
    fresh: list[Task], ids: dict[Task, str], backlog: Backlog, options: Options, code: Path, first: bool
) -> Iterator[dict[Task, str]]:
    """Submits `fresh` array by array and yields the job ids of each array. `ids` holds those of earlier jobs.

    `first`: the command has submitted nothing so far, and a refusal raises `Mistake`, not `Trouble`.
    """
    store, labels = backlog.store, backlog.demand.labels
    folder = jobs.new_folder(store)
    for alike in _levels(fresh):
        module, resources = alike[0].module, options.cluster.resources(alike[0].stage, alike[0].experiment.scale)
        # A stage that starts again after every timeout would never finish.
        timeouts = resources.timeouts if getattr(module, "resumes", False) else 0
        for array, dependency in _arrays(alike, ids, resources.together):
            for run in (t.run_in(store) for group in array for t in group):
                if run.state in ("failed", "stopped"):
                    run.reset("waiting")  # its state is that of an earlier job
            calls = [_call(group, store, labels, resources) for group in array]
            parameters = _parameters(alike[0].stage, resources, dependency, code)
            new_jobs, first = _submit_array(calls, folder, parameters, timeouts, first), False
            submitted = {t: job for group, job in zip(array, new_jobs, strict=True) for t in group}
            for t, job in submitted.items():
                jobs.record(t.run_in(store), "slurm", job.job_id, job.paths.stdout)
            yield {t: job.job_id for t, job in submitted.items()}


def _call(tasks: list[Task], store: Store, labels: dict[Task, str], resources: Resources) -> Job | Group:
    """What Submitit calls in the job of these tasks."""
    members = [Job(t, store.root.absolute(), labels[t], resources.execution) for t in tasks]
    return Group(tuple(members), resources.threads) if resources.together > 1 else members[0]


def _in_queue(tasks: list[Task], store: Store) -> dict[Task, str]:
    """The tasks that have a job in the queue, submitted by any command, and its id.

    What has failed has no job any more, although its job may still run other tasks.
    """
    runs = {run: t for t in tasks if (run := t.run_in(store)).state != "failed"}
    return {runs[run]: job.id for run, (job, _) in jobs.alive(runs).items() if job.executor == "slurm"}


def _levels(tasks: list[Task]) -> Iterator[list[Task]]:
    """Groups of tasks of one stage that do not read each other. Inputs are in earlier groups."""
    depth: dict[Task, int] = {}
    levels: dict[tuple[int, str], list[Task]] = {}
    for t in tasks:
        depth[t] = 1 + max((depth.get(needed, -1) for needed in t.inputs.values()), default=-1)
        levels.setdefault((depth[t], t.stage), []).append(t)
    for _, level in sorted(levels.items(), key=lambda item: item[0]):
        yield level


def _arrays(tasks: list[Task], ids: dict[Task, str], together: int) -> Iterator[tuple[list[list[Task]], str]]:
    """The arrays of jobs of one stage, each with its dependency in Slurm's format. A job has up to `together` tasks."""
    alike: dict[tuple[str, ...], list[Task]] = {}
    for t in tasks:
        alike.setdefault(tuple(job.partition("_")[0] for job in _needed(t, ids)), []).append(t)
    for members in alike.values():
        groups = [members[start : start + together] for start in range(0, len(members), together)]
        for start in range(0, len(groups), LARGEST_ARRAY):
            array = groups[start : start + LARGEST_ARRAY]
            dependency = _dependency(array, ids)
            if dependency is None:
                yield from (([group], _dependency([group], ids) or "") for group in array)
            else:
                yield array, dependency


def _needed(task: Task, ids: dict[Task, str]) -> list[str]:
    """The ids of the jobs that make the inputs of `task`."""
    return [ids[needed] for needed in task.inputs.values() if needed in ids]


def _dependency(array: list[list[Task]], ids: dict[Task, str]) -> str | None:
    """The dependency of an array on whole jobs, or on arrays job by job; None if its jobs do not correspond.

    A job of several tasks that reads several jobs waits until they end: one that fails stops only its own rows.
    """
    dependencies = []
    for column in zip(*(zip(*(_needed(t, ids) for t in group), strict=True) for group in array), strict=True):
        needed = [list(dict.fromkeys(members)) for members in column]
        if len(needed[0]) == 1 and all(jobs == needed[0] for jobs in needed):
            dependencies.append(f"afterok:{needed[0][0]}")
        elif [[job.partition("_")[2] for job in jobs] for jobs in needed] == [[str(k)] for k in range(len(array))]:
            dependencies.append(f"aftercorr:{needed[0][0].partition('_')[0]}")
        elif len(array) == 1:
            dependencies.append(f"afterany:{':'.join(needed[0])}")
        else:
            return None
    return ",".join(dependencies)


def _allocation(resources: Resources) -> dict[str, Any]:
    """The resources of a job, by the names of sbatch's options."""
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
    """The parameters of Submitit's Slurm executor."""
    environment = code_copy.environment(code) | {"OMP_NUM_THREADS": str(resources.threads)}
    return {
        **_allocation(resources),
        **({"dependency": dependency} if dependency else {}),
        "job_name": stage,
        "array_parallelism": resources.at_once,
        "signal_delay_s": resources.warning_seconds,
        "stderr_to_stdout": True,
        "setup": [f"export {name}={shlex.quote(value)}" for name, value in environment.items()],
        # Since 22.05 srun does not take --cpus-per-task from sbatch. When a process dies, the others must end and not
        # wait for it. When a process ends well, the others must go on.
        "srun_args": [f"--cpus-per-task={resources.cpus}", "--kill-on-bad-exit=1", "--wait=0"],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"},
    }


def _submit_array(
    calls: list[Job | Group], folder: Path, parameters: dict[str, Any], timeouts: int, first: bool
) -> list[Any]:
    """The jobs of an array. Raises `Mistake` if Slurm refuses the first array, `Trouble` if it refuses a later one."""
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
            f"{refused}. Earlier jobs are submitted; python -m harness.cancel STUDY ends them, the same command goes on"
        ) from None


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hides the variables of a job that this command may itself run in: sbatch would take them for options."""
    from submitit.helpers import clean_env

    if "SLURM_JOB_ID" not in os.environ:  # other variables with this prefix are the user's own
        yield
        return
    configuration = os.environ.get("SLURM_CONF")
    with clean_env():
        if configuration is not None:
            os.environ["SLURM_CONF"] = configuration
        yield


def _follow(fresh: list[Task], backlog: Backlog, options: Options, should_stop: Callable[[], bool]) -> None:
    """Submits the wanted tasks, and waits until every task has a result, has failed, or has lost its job."""
    store, demand = backlog.store, backlog.demand
    pending, ended, submitted = dict[Task, str](), dict[Task, float](), False
    began = polled = time.monotonic()
    with StagesBar(backlog, None, options.quiet) as bar:
        while (fresh or pending) and not should_stop():
            if fresh:
                ids, any_new = _submit(fresh, backlog, options, not submitted, should_stop)
                pending |= ids
                submitted |= any_new
            bar.refresh()
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if pending and now - polled < min(SLOWEST_POLL_SECONDS, (now - began) / 20):
                fresh = []
                continue
            polled, states, over = now, _squeue(_users(pending, store)), []
            for t, job in list(pending.items()):
                state, _ = states.get(job, ("GONE", "")) if states is not None else ("UNKNOWN", "")
                settled = t.run_in(store).state in OVER
                if not settled and state in ENDED and now - ended.setdefault(t, now) >= jobs.LOST_SECONDS:
                    _lost(t, store, state)
                    settled = True
                if not settled and demand.unwanted(t):
                    if all(demand.unwanted(other) for other, its in pending.items() if its == job):
                        subprocess.run(["scancel", job], capture_output=True, check=False)
                    settled = True
                if state not in ENDED:
                    ended.pop(t, None)
                if settled:
                    del pending[t]
                    over.append(t)
                    bar.end(t)
            again = (t for t in backlog.again(over) if not demand.unwanted(t))
            fresh = list(dict.fromkeys([*again, *backlog.fresh()]))


def _users(pending: dict[Task, str], store: Store) -> set[int]:
    return {known.user for t in pending if (known := jobs.submitted(t.run_in(store))) is not None}


def _lost(task: Task, store: Store, state: str) -> None:
    """Records that a job left the queue without an outcome, unless Slurm ended it because an input failed."""
    run = task.run_in(store)
    job = jobs.submitted(run)
    if job is not None and ready(task, store):
        ended = "left the queue" if state == "GONE" else f"ended as {state}"
        jobs.lost(run, job, ended, failed=state in ("COMPLETED", "FAILED", "OUT_OF_MEMORY"))


def queue(submitted: list[SubmittedJob]) -> dict[str, str]:
    states = _squeue({job.user for job in submitted})
    if states is None:
        raise Trouble("squeue does not answer: is this a login node of the cluster, and is Slurm up?")
    reported = {job.id: states.get(job.id, ("GONE", "")) for job in submitted}
    return {job: f"{s} ({reason})" if s == "PENDING" else s for job, (s, reason) in reported.items() if s not in ENDED}


def _squeue(users: set[int]) -> dict[str, tuple[str, str]] | None:
    """State and reason of every job of `users` that Slurm remembers, by job id; None if Slurm does not answer.

    Submitit's own query would need accounting, and its results may hold an old error of a job that went back into the
    queue.
    """
    of_users = f"--user={','.join(map(str, sorted(users)))}"
    command = ["squeue", "--noheader", "--all", "--array", "--states=all", of_users, "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.strip().split("|") for line in done.stdout.splitlines() if line.count("|") == 2)
    return {job: (state, reason) for job, state, reason in lines}


def cancel(submitted: list[SubmittedJob]) -> None:
    command = ["scancel", *(job.id for job in submitted)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise Trouble(f"scancel: {' '.join(done.stderr.split())}")
