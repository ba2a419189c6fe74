"""Tasks of one stage that one job of a cluster runs side by side, each in a process with its share of the cores."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from harness.execution.jobs import Job, Notices, patience_seconds, ready_soon, set_torch_variables
from harness.execution.together import POLL_SECONDS, helping, settle
from harness.store.runs import OVER, Store
from harness.system import plugins
from harness.system.texts import counted


@dataclass(frozen=True)
class Group:
    """Some jobs, as Submitit pickles them and calls them in the one process of their job. Each gets `threads` threads.

    The tasks are alone with their fate: what fails ends no other. The exit code is 0 if any is done, so that jobs that
    read it start, and run the tasks whose inputs are there.
    """

    jobs: tuple[Job, ...]
    threads: int

    def __call__(self) -> None:
        """Runs the tasks that have no outcome yet, and ends the process with an exit code that says how it went."""
        from submitit import JobEnvironment

        plugins.find(quiet=True)
        notices, job = Notices.awaited(), JobEnvironment()
        set_torch_variables(job)
        for member in self.jobs:
            member.record(job)
        # What failed here before the job came back to the queue fails again: it waits to be tried again.
        left = [member for member in self.jobs if member.run.state not in OVER]
        ready = ready_soon(left)
        self._run(ready, notices, patience_seconds(job))
        for member in self.jobs:
            print(f"{member.task.stage} {member.task.key}: {_outcome(member)}", flush=True)
        unfinished = [member.run for member in ready if member.run.state not in OVER]
        if notices.any and unfinished:
            notices.end(job, unfinished, notices.to_requeue)
        if all(member.run.state != "done" for member in self.jobs):
            sys.exit(1)

    def _run(self, ready: list[Job], notices: Notices, patience: float) -> None:
        with contextlib.ExitStack() as stack:
            helpers = []
            for slot, member in enumerate(ready):
                share = counted(self.threads, "thread")
                print(f"{member.task.stage} {member.task.key} of {member.label}: {share}", flush=True)
                helpers.append(stack.enter_context(helping(Store(member.root), self.threads, slot)))
                helpers[-1].begin(member.task, member.label, member.execution, patience)
            while working := [h for h in helpers if h.task is not None]:
                answered = connection.wait([h.answers for h in working], POLL_SECONDS)
                for helper in working:
                    if helper.answers in answered:
                        settle(helper, Store(self.jobs[0].root), "stopped" if notices.any else "failed")
                    elif notices.any:
                        helper.stop()

    def checkpoint(self) -> Any:
        """Submitit runs the result when the job comes back: the same tasks, which go on where they were."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _outcome(member: Job) -> str:
    status = member.run.status()
    return ", ".join(filter(None, [status["state"], status["reason"]]))
