"""The driver of a sweep. It alone asks Optuna for trials and records their outcomes; executors run their tasks.

The store holds the truth about a trial: its value is read from the runs of its experiments, one per seed. A driver that
was killed leaves trials without an outcome: the next driver takes them up where they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.experiments.experiment import Experiment
from harness.experiments.objectives import PROXY_STAGE, Objective
from harness.experiments.requests import Point, SweepRequest
from harness.planning import request_log
from harness.planning.plan import require_accepted
from harness.planning.task import Task, task, tasks
from harness.search.samplers import Search
from harness.search.storage import lock_of
from harness.search.trials import Trials, state_of
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from harness.system.texts import counted

if TYPE_CHECKING:
    import optuna


CHECK_SECONDS = 1.0  # between two checks of the curves


@dataclass
class Trial:
    """A trial without an outcome, its tasks, and the tasks that hold its values, by objective and seed."""

    optuna: optuna.Trial
    name: str
    tasks: list[Task]
    targets: list[list[Task]]
    reported: int
    shared: bool | None = None  # whether another study wants its training too; None until that is checked

    @property
    def training(self) -> Task:
        """The training of the first seed, whose curve the pruner sees."""
        return task(PROXY_STAGE, self.tasks[0].experiment)


class Driver:
    """A demand that grows: the tasks of at most `at_once` trials at a time; None: no limit."""

    def __init__(
        self,
        request: SweepRequest,
        search: Search,
        study: optuna.Study,
        store: Store,
        at_once: int | None,
        retry_failed: bool,
        say: Callable[[str], None],
    ):
        self.search, self.study, self.store = search, study, store
        self.at_once, self.retry_failed, self.say = at_once, retry_failed, say
        self.labels: dict[Task, str] = {}
        self.trials = Trials(study, request, search)
        self._request = dataclasses.replace(request, points=())
        self._points: dict[Point, None] = {}
        self._running: dict[int, Trial] = {}
        self._missing: dict[Task, None] = {}
        self._live: dict[Task, None] = {}
        self._reset: set[Task] = set()
        self._checked, self._left = 0.0, 0
        self._broken: Exception | None = None

    @classmethod
    def open(
        cls,
        request: SweepRequest,
        search: Search,
        study: optuna.Study,
        store: Store,
        at_once: int | None,
        retry_failed: bool,
        say: Callable[[str], None],
    ) -> Driver:
        """The driver of a study: it takes up the trials where they are, and enqueues the rest."""
        driver = cls(request, search, study, store, at_once, retry_failed, say)
        for frozen in driver.trials.ended():
            driver._restore(frozen)
        for trial, reported in driver.trials.running():
            driver._begin(trial, reported)
        request_log.remember(driver.request, store)
        driver.trials.enqueue(retry_failed)
        return driver

    @property
    def request(self) -> SweepRequest:
        """The request, with the points of all trials so far."""
        return dataclasses.replace(self._request, points=tuple(self._points))

    def wanted(self) -> list[Task]:
        """Records ended trials, starts new ones while there is room, and returns the tasks of all that run."""
        if self._broken is not None:
            raise self._broken
        while self.settle() or self._ask():
            pass
        self._live, self._left = self._tasks(), self.trials.left()
        return list(self._live)

    def unwanted(self, task: Task) -> bool:
        """Whether all trials that wanted `task` were given up. Checks their curves now and then.

        Executors ask in the middle of a training: trouble with the storage stops the training, and is raised later.
        """
        from optuna.exceptions import StorageInternalError

        if time.monotonic() - self._checked > CHECK_SECONDS:
            self._checked = time.monotonic()
            try:
                self._check_curves()
            except (StorageInternalError, OSError) as error:
                self._broken = error
        return self._broken is not None or task not in self._live

    def ahead(self) -> list[Task]:
        """The tasks of the trials to come, as if each of them were in the middle of the space.

        Executors ask in the middle of a training: the number of trials is that of the last call of `wanted`.
        """
        return self._left * [t for t in self._of_one if t not in self.labels]

    @functools.cached_property
    def _of_one(self) -> list[Task]:
        try:
            experiments = self._request.experiments_of(self._request.middle())
        except Mistake:  # values that do not go together
            return []
        return tasks(experiments, self._request.stages(experiments[0]))

    def settle(self) -> bool:
        """Records the outcomes of the trials that have ended; whether there were any."""
        ended = [number for number, trial in list(self._running.items()) if self._record(trial)]
        return bool(ended)

    def troubles(self) -> list[str]:
        """The trials and stages without a result that should have one, a line each."""
        bad = [f"trial {t.number}: {state_of(t)}, {t.user_attrs.get('reason', '')}" for t in self.trials.bad()]
        running = [f"trial {n}, {t.name}: not finished, the same command goes on" for n, t in self._running.items()]
        missing = [t for t in self._missing if t.run_in(self.store).state != "done"]
        return [*bad, *running, *(f"{t.stage} {t.key} of {self.labels[t]}: not made again" for t in missing)]

    def _tasks(self) -> dict[Task, None]:
        """The tasks of all running trials and the tasks to be made again, inputs before their readers."""
        return self._missing | dict.fromkeys(t for trial in self._running.values() for t in trial.tasks)

    def _check_curves(self) -> None:
        """Gives up bad trials."""
        for trial in list(self._running.values()) if self.search.pruner != "none" else ():
            self._watch(trial)
        self._live = self._tasks()

    def _ask(self) -> bool:
        """Starts another trial if there is room and one is left; whether it did."""
        room = self.at_once is None or len(self._running) < self.at_once
        if not room or not self.trials.left():
            return False
        self._begin(self.trials.ask())
        return True

    def _begin(self, trial: optuna.Trial, reported: int = -1) -> None:
        """Takes up a trial: its point and its tasks. Its curve is `reported` up to that step."""
        point = self.trials.point_of(trial)
        name = self._request.row_of(point).name
        try:
            planned, targets = self._plan(point)
        except Mistake as mistake:  # values that do not go together
            self._record_bad(trial, name, "undefined", str(mistake))
            return
        request_log.remember(self.request, self.store)
        for t in planned:
            # Once: a task that fails again in this command stays failed. Somebody may have mended refused data.
            again = self.retry_failed or t.stage == "data"
            if again and t not in self._reset and t.run_in(self.store).state == "failed":
                t.run_in(self.store).reset("waiting")
            self._reset.add(t)
        self._running[trial.number] = Trial(trial, name, planned, targets, reported)

    def _plan(self, point: Point) -> tuple[list[Task], list[list[Task]]]:
        """The tasks of a point, and those that hold its values, by objective and seed. Raises `Mistake`."""
        experiments, name = self._request.experiments_of(point), self._request.row_of(point).name
        self._points[point] = None
        planned = tasks(experiments, self._request.stages(experiments[0]))
        for t in planned:
            self.labels[t] = name if self.labels.get(t, name) == name else "several trials"
        return planned, [[task(o.stage, e) for e in experiments] for o in self._request.objectives]

    def _restore(self, trial: optuna.trial.FrozenTrial) -> None:
        """Remembers a trial that has ended. If runs of it are missing, they are made again, with the same numbers."""
        point = self.trials.known_point(trial)
        if point is not None and state_of(trial) != "undefined":
            planned, _ = self._plan(point)
            if state_of(trial) == "done" and any(t.run_in(self.store).state != "done" for t in planned):
                self._missing |= dict.fromkeys(planned)

    def _record(self, trial: Trial) -> bool:
        """Records the outcome of a trial; whether it has ended. Raises what the stage `data` raised if it refused."""
        require_accepted(trial.tasks, self.store)
        states = {t: t.run_in(self.store).state for t in trial.tasks}
        bad = next((t for t, state in states.items() if state in ("failed", "diverged")), None)
        if bad is not None:
            reason = f"{bad.stage}: {bad.run_in(self.store).status()['reason']}"
            self._record_bad(trial.optuna, trial.name, states[bad], reason)
            return True
        if any(state != "done" for state in states.values()):
            return False
        by_seed = [
            [value_of(t.run_in(self.store), o, t.experiment) for t in target]
            for o, target in zip(self._request.objectives, trial.targets, strict=True)
        ]
        if any(value is None for values in by_seed for value in values):
            self._record_bad(trial.optuna, trial.name, "undefined", "the objective is not defined for it")
            return True
        means = [math.fsum(v for v in values if v is not None) / len(values) for values in by_seed]
        if self.search.pruner != "none":
            self._watch(trial)  # later trials are compared with its whole curve
        self.study.tell(trial.optuna, means)
        del self._running[trial.optuna.number]
        shown = ", ".join(f"{o.title} {mean:.6g}" for o, mean in zip(self._request.objectives, means, strict=True))
        self._say(trial.optuna, trial.name, f"{shown}; {self._so_far()}")
        return True

    def _record_bad(self, trial: optuna.Trial, name: str, outcome: str, reason: str) -> None:
        """Records that a trial has no value. A trial that diverged counts as pruned, which TPE takes for bad."""
        from optuna.trial import TrialState

        trial.set_user_attr("outcome", outcome)
        trial.set_user_attr("reason", reason)
        pruned = outcome == "diverged" and len(self._request.objectives) == 1
        self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        self._running.pop(trial.number, None)
        self._say(trial, name, f"{outcome}, {reason}")

    def _watch(self, trial: Trial) -> None:
        """Reports the curve of a training so far, and gives the trial up if the curve is bad.

        A trial goes on if giving it up saves nothing: its training is done, or another study wants it too.
        """
        from optuna.trial import TrialState

        objective, run = self._request.objectives[0], trial.training.run_in(self.store)
        for step, value in run.curves.history(objective.proxy):
            if step <= trial.reported or not math.isfinite(value):
                continue
            trial.optuna.report(value, step)
            trial.reported = step
            if run.state == "done" or not trial.optuna.should_prune():
                continue
            if trial.shared is None:
                trial.shared = run.folder in request_log.wanted_elsewhere(self._request, self.store)
            if trial.shared:
                continue
            self.study.tell(trial.optuna, state=TrialState.PRUNED)
            del self._running[trial.optuna.number]
            self._say(trial.optuna, trial.name, f"given up at step {step}, {objective.proxy} {value:.4g}")
            return

    def _so_far(self) -> str:
        """The best trial, or how many are on the Pareto front."""
        if len(self._request.objectives) > 1:
            return f"{len(self.study.best_trials)} on the Pareto front"
        best = self.study.best_trial
        name = self._request.row_of(self._request.point(best.params)).name
        return f"best so far {name} with {best.value:.6g}"

    def _say(self, trial: optuna.Trial, name: str, text: str) -> None:
        """Says what became of a trial, and how many of all have ended."""
        ended = len(self.trials.ended())
        of_all = f"{ended} of {counted(ended + self.trials.left() + len(self._running), 'trial')}"
        self.say(f"trial {trial.number}, {name}: {text}; {of_all} have ended")


def value_of(run: Run, objective: Objective, experiment: Experiment) -> float | None:
    """The objective in a finished run; None if it is not defined there."""
    split = objective.split(experiment)
    values = [r.value for r in run.records() if r.metric == objective.metric and r.split == split]
    return values[-1] if values and math.isfinite(values[-1]) else None


@contextlib.contextmanager
def alone(request: SweepRequest, search: Search, store: Store) -> Iterator[None]:
    """Holds the lock of the only driver of a study. Raises `Mistake` if another command holds it."""
    path = lock_of(search.storage, store.root, request.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Mistake(f"another command drives {request.page}; python -m harness.status shows how far it is") from None
    try:
        yield
    finally:
        lock.release()
