"""The driver of a sweep: it alone asks Optuna for trials and tells how they went; executors run what they take.

The truth about a trial is in the store: its value is read from the runs of its experiments, one a seed. A driver that
was killed leaves trials behind that are not told: the next one takes them up where they are.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness import asked as requests
from harness.errors import Mistake
from harness.experiment import Experiment
from harness.objectives import PROXY_STAGE, Objective
from harness.plan import Task, task, tasks
from harness.progress import TrialLines, progress_of
from harness.search import Search
from harness.space import ROW, AskedSweep, Point
from harness.store import FINAL, Run, Store

if TYPE_CHECKING:
    import optuna

LOOK_SECONDS = 1.0  # between two looks at curves


@dataclass
class Trial:
    """A trial that is not told yet, the tasks that it takes, and those that hold its values, by objective and seed."""

    optuna: optuna.Trial
    name: str
    tasks: list[Task]
    targets: list[list[Task]]
    training: Run
    reported: int
    cached: bool
    began: float = field(default_factory=time.monotonic)


class Driver:
    """A demand that grows: of at most `at_once` trials at a time, as many as there are where that is None."""

    def __init__(
        self,
        asked: AskedSweep,
        search: Search,
        study: optuna.Study,
        store: Store,
        at_once: int | None,
        retry_failed: bool,
        lines: TrialLines,
    ):
        self.asked, self.search, self.study, self.store = asked, search, study, store
        self.at_once, self.retry_failed, self.lines, self.axes = at_once, retry_failed, lines, asked.axes
        self.labels: dict[Task, str] = {}
        self._trials: dict[int, Trial] = {}
        self._gone: list[Task] = []
        self._live: dict[Task, None] = {}
        self._looked = 0.0
        self._took: list[float] = []
        import optuna

        states = optuna.trial.TrialState
        for frozen in study.get_trials(deepcopy=False, states=[states.COMPLETE]):
            self._restore(frozen)
        for frozen in study.get_trials(deepcopy=False, states=[states.RUNNING]):
            study.sampler = search.sampler_of(study, frozen.number)
            # An id, which only the storage tells, is the one way to a trial of another process.
            trial = optuna.trial.Trial(study, frozen._trial_id)
            self._begin(trial, max(frozen.intermediate_values, default=-1))
        self._enqueue()

    def wanted(self) -> list[Task]:
        """Tells the trials that have ended and asks for as many as there is room for; the tasks of all that run."""
        while self._tell() or self._ask():
            pass
        self._live = self._running()
        return list(self._live)

    def unwanted(self, task: Task) -> bool:
        """Whether all trials that wanted it were given up; looks at their curves now and then."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            for number, trial in list(self._trials.items()):
                if self.search.pruner != "none" and self._pruned(trial):
                    del self._trials[number]
            self._live = self._running()
            self.lines.show({n: f"{trial.name}: {_at(trial, self.store)}" for n, trial in self._trials.items()})
        return task not in self._live

    def _running(self) -> dict[Task, None]:
        """The tasks of all trials that run, inputs before their readers."""
        return dict.fromkeys([*self._gone, *(t for trial in self._trials.values() for t in trial.tasks)])

    def failed(self) -> dict[int, str]:
        """Why the trials failed that did and were not tried again, by number."""
        return {t.number: t.user_attrs.get("reason", "") for t in self._failed()}

    def unfinished(self) -> dict[int, str]:
        """The names of trials that something ended from outside, by number."""
        return {number: trial.name for number, trial in self._trials.items()}

    def _tell(self) -> bool:
        """Whether a trial had ended, and was told."""
        ended = [number for number, trial in self._trials.items() if self._told(trial)]
        for number in ended:
            del self._trials[number]
        return bool(ended)

    def _ask(self) -> bool:
        """Whether there was room for another trial, and one left to ask for."""
        room = self.at_once is None or len(self._trials) < self.at_once
        if room and self._left() > 0:
            self.study.sampler = self.search.sampler_of(self.study, len(self.study.get_trials(deepcopy=False)))
            self._begin(self.study.ask())
            return True
        return False

    def _enqueue(self) -> None:
        """Puts what has to be tried into Optuna's queue, each once."""
        points = self.asked.grid()[: self.search.trials] if self.search.sampler == "grid" else []
        for point in points:
            self.study.enqueue_trial(self.asked.parameters(point), skip_if_exists=True)
        if self.retry_failed:
            for frozen in (t for t in self._failed() if not t.user_attrs.get("final")):
                self.study.enqueue_trial(frozen.params, user_attrs={"again": frozen.number})

    def _failed(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that failed and were not tried again."""
        import optuna

        every = self.study.get_trials(deepcopy=False)
        again = {t.user_attrs.get("again") for t in every}
        return [t for t in every if t.state == optuna.trial.TrialState.FAIL and t.number not in again]

    def _left(self) -> int:
        """How many trials may still be asked for."""
        import optuna

        every = self.study.get_trials(deepcopy=False)
        waiting = sum(t.state == optuna.trial.TrialState.WAITING for t in every)
        if self.search.sampler == "grid":
            return waiting
        tried_again = sum("again" in t.user_attrs for t in every)
        return max(waiting, self.search.trials - (len(every) - waiting - tried_again))

    def _begin(self, trial: optuna.Trial, reported: int = -1) -> None:
        """Takes up a trial that was asked for, its curve reported up to a step: its place, the tasks that it takes."""
        rows = [row.name for row in self.asked.chosen_rows()]
        row = {ROW: trial.suggest_categorical(ROW, rows)} if len(rows) > 1 else {}
        point = self.asked.point(row | {axis.name: axis.suggested(trial) for axis in self.axes})
        name = self.asked.row_of(point).name
        try:
            planned, targets = self._plan(point, name)
        except Mistake as mistake:  # values that do not go together
            self._fail(trial, name, str(mistake), final=True)
            return
        requests.remember(self.asked, self.store)
        for run in (t.run_in(self.store) for t in planned):
            if self.retry_failed and run.state == "failed":
                run.reset("waiting")
        training = task(PROXY_STAGE, planned[0].experiment).run_in(self.store)  # of the first seed
        cached = all(t.run_in(self.store).state == "done" for t in planned)
        self._trials[trial.number] = Trial(trial, name, planned, targets, training, reported, cached)

    def _plan(self, point: Point, name: str) -> tuple[list[Task], list[list[Task]]]:
        """The tasks that a place takes, and those with its values, by objective and seed; raises `Mistake`."""
        experiments = self.asked.experiments_of(point)
        self.asked = self.asked.trying(point)
        planned = tasks(experiments, self.asked.stages(experiments[0]))
        for t in planned:
            self.labels[t] = name if self.labels.get(t, name) == name else "several trials"
        return planned, [[task(o.stage, e) for e in experiments] for o in self.asked.objectives]

    def _restore(self, trial: optuna.trial.FrozenTrial) -> None:
        """Has the results of a trial that is told made again, to the same numbers, where they are gone or damaged."""
        point = self.asked.point(trial.params)
        planned, targets = self._plan(point, self.asked.row_of(point).name)
        if any(t.run_in(self.store).state != "done" for target in targets for t in target):
            self._gone += planned

    def _told(self, trial: Trial) -> bool:
        """Tells how a trial went, if it has ended."""
        states = {t: t.run_in(self.store).state for t in trial.tasks}
        bad = next((t for t, state in states.items() if state in ("failed", "diverged")), None)
        if bad is not None:
            reason = bad.run_in(self.store).status()["reason"]
            self._fail(trial.optuna, trial.name, f"{bad.stage} {states[bad]}: {reason}", states[bad] in FINAL)
            return True
        if any(states[t] != "done" for target in trial.targets for t in target):
            return False
        values = []
        for objective, target in zip(self.asked.objectives, trial.targets, strict=True):
            of_seeds = [value_of(t.run_in(self.store), objective, t.experiment) for t in target]
            known = [v for v in of_seeds if v is not None and math.isfinite(v)]
            if len(known) < len(of_seeds):
                self._fail(trial.optuna, trial.name, f"{objective.title} is not defined for it", final=True)
                return True
            trial.optuna.set_user_attr(objective.metric, known)
            values.append(sum(known) / len(known))
        if self.search.pruner != "none":
            self._pruned(trial)  # so that trials to come are compared with its whole curve
        self.study.tell(trial.optuna, values)
        if not trial.cached:
            self._took.append(time.monotonic() - trial.began)
        shown = ", ".join(f"{o.title} {v:.6g}" for o, v in zip(self.asked.objectives, values, strict=True))
        self._say(trial.optuna.number, trial.name, f"{shown}; {self._so_far()}")
        return True

    def _fail(self, trial: optuna.Trial, name: str, reason: str, final: bool) -> None:
        """Tells that a trial has no value; a `final` one would have none again."""
        import optuna

        trial.set_user_attr("reason", reason)
        trial.set_user_attr("final", final)
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._say(trial.number, name, f"failed: {reason}")

    def _pruned(self, trial: Trial) -> bool:
        """Reports the curve of the first seed's training as far as it is; gives the trial up where it is no good."""
        import optuna

        objective = self.asked.objectives[0]
        for step, value in curve_of(trial.training, objective.proxy):
            if step > trial.reported and math.isfinite(value):
                trial.optuna.report(value, step)
                trial.reported = step
                # What is trained already costs nothing more.
                if trial.training.state != "done" and trial.optuna.should_prune():
                    self.study.tell(trial.optuna, state=optuna.trial.TrialState.PRUNED)
                    self._say(
                        trial.optuna.number, trial.name, f"given up at step {step}, {objective.proxy} {value:.4g}"
                    )
                    return True
        return False

    def _so_far(self) -> str:
        """The best trial, how many are done, and the time that the others take."""
        import optuna

        done = self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        left = self._left() + len(self._trials) - 1
        if len(self.asked.objectives) > 1:
            text = f"{len(self.study.best_trials)} on the Pareto front of {len(done)}"
        else:
            best = self.study.best_trial
            name = self.asked.row_of(self.asked.point(best.params)).name
            text = f"best so far {name} with {best.value:.6g}, of {len(done)}"
        if left:
            text += f"; {left} left"
        if left and self._took:
            minutes = left * sum(self._took) / len(self._took) / (self.at_once or len(self._trials)) / 60
            text += f", about {minutes:.0f} min where nothing is cached"
        return text

    def _say(self, number: int, name: str, text: str) -> None:
        self.lines.say(f"trial {number}, {name}: {text}")


def value_of(run: Run, objective: Objective, experiment: Experiment) -> float | None:
    """The objective in a finished run; None where it is not defined there."""
    split = objective.split(experiment)
    found = [r for r in run.records() if r.metric == objective.metric and r.split == split]
    return found[-1].value if found else None


def curve_of(run: Run, metric: str) -> Iterable[tuple[int, float]]:
    """Step and value of a metric in what a run has logged so far."""
    try:
        with (run.folder / "metrics.csv").open(newline="") as file:
            return [(int(r["step"]), float(r["value"])) for r in csv.DictReader(file) if r["metric"] == metric]
    except (OSError, ValueError, TypeError):  # not there yet, or just being written
        return []


def _at(trial: Trial, store: Store) -> str:
    """What a trial is at."""
    for t in trial.tasks:
        run = t.run_in(store)
        if run.state == "running":
            found = progress_of(run.folder)
            return t.stage + (f" {found['done']}/{found['total']} {found['unit']}s" if found else "")
    return "waits"
