"""The trials of an Optuna study: which are to be asked for, each place of a grid once, and how each has ended."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from harness.experiments.requests import ROW, Point, SweepRequest
from harness.search.samplers import Search

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

WORDS = {"COMPLETE": "done", "RUNNING": "not finished", "PRUNED": "given up early", "FAIL": "failed"}


def state_of(trial: FrozenTrial) -> str:
    """How a trial has ended, in words: `done`, `given up early`, `failed`, `diverged`, `undefined`, `not finished`."""
    return str(trial.user_attrs.get("outcome", WORDS[trial.state.name]))


def can_retry(trial: FrozenTrial) -> bool:
    """Whether it may end otherwise when it is tried again: what diverged, or has no value, would again."""
    return state_of(trial) == "failed"


class Trials:
    """What is left to try. A trial that is tried again names the one before it, which counts no more."""

    def __init__(self, study: Study, request: SweepRequest, search: Search):
        self.study, self.request, self.search, self.axes = study, request, search, request.axes

    def _every(self, *states: str) -> list[FrozenTrial]:
        """All trials, or those in `states`, that were not tried again."""
        every = self.study.get_trials(deepcopy=False)
        again = {t.user_attrs.get("again") for t in every}
        return [t for t in every if t.number not in again and (not states or t.state.name in states)]

    def told(self) -> list[FrozenTrial]:
        """Those that have ended, whichever way."""
        return self._every("COMPLETE", "PRUNED", "FAIL")

    def bad(self) -> list[FrozenTrial]:
        """Those that have ended without a value, and were not given up."""
        return [t for t in self.told() if state_of(t) not in ("done", "given up early")]

    def enqueue(self, retry_failed: bool) -> None:
        """Puts every place of the grid into Optuna's queue, each once, and what is to be tried again."""
        again = list(filter(can_retry, self.bad())) if retry_failed else []
        if self.search.sampler == "grid":
            points = self.request.grid()[: self.search.trials]
            if self.search.pruner == "none":
                again += [t for t in self._every("PRUNED") if state_of(t) == "given up early" and self.at(t) in points]
            for point in points:
                self.study.enqueue_trial(self.request.parameters(point), skip_if_exists=True)
        for t in again:
            self.study.enqueue_trial(t.params, user_attrs={"again": t.number})

    def left(self) -> int:
        """How many may still be asked for."""
        every = self._every()
        waiting = [t for t in every if t.state.name == "WAITING"]
        again = sum("again" in t.user_attrs for t in waiting)
        left = max(0, self.search.trials - (len(every) - len(waiting)) - again)
        return again + (min(left, len(waiting) - again) if self.search.sampler == "grid" else left)

    def ask(self) -> Trial:
        """The next one."""
        number, told, search = len(self.study.get_trials(deepcopy=False)), self.told(), self.search
        if search.sampler == "gp" and told and state_of(told[-1]) != "done":
            # It knows of values alone, and would suggest the same place again.
            search = dataclasses.replace(search, sampler="random")
        self.study.sampler = search.sampler_of(self.study, number)
        return self.study.ask()

    def running(self) -> list[tuple[Trial, int]]:
        """Those that a driver before this one asked for and has not told, and the step that each is reported up to."""
        import optuna

        found = []
        for frozen in self._every("RUNNING"):
            self.study.sampler = self.search.sampler_of(self.study, frozen.number)
            # An id, which only the storage tells, is the one way to a trial of another process.
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            found.append((trial, max(frozen.intermediate_values, default=-1)))
        return found

    def at(self, trial: FrozenTrial) -> Point | None:
        """The place of a trial, if it has got that far."""
        whole = all(a.name in trial.params for a in self.axes)
        return self.request.point(trial.params) if whole else None

    def place(self, trial: Trial) -> Point:
        """The place of a trial, suggested where it has none yet.

        Each axis has a seed of its own: a trial that was killed between two suggestions goes on as it would have.
        """
        rows = [row.name for row in self.request.chosen_rows()]
        trial.relative_params  # noqa: B018  what is suggested for all axes together, by the seed of the trial
        self.study.sampler = self.search.sampler_of(self.study, trial.number, ROW)
        parameters: dict[str, Any] = {ROW: trial.suggest_categorical(ROW, rows)} if len(rows) > 1 else {}
        for axis in self.axes:
            self.study.sampler = self.search.sampler_of(self.study, trial.number, axis.name)
            parameters |= {axis.name: axis.suggested(trial)}
        return self.request.point(parameters)
