"""The trials of an Optuna study: which are left, with each point of a grid once, and how each has ended."""

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
    """Whether a retry may end otherwise. A trial that diverged or has no value would end the same way."""
    return state_of(trial) == "failed"


class Trials:
    """The trials of a study. A retry names the trial that it replaces, which no longer counts."""

    def __init__(self, study: Study, request: SweepRequest, search: Search):
        self.study, self.request, self.search, self.axes = study, request, search, request.axes

    def _every(self, *states: str) -> list[FrozenTrial]:
        """The trials that were not replaced by a retry, all of them or those in `states`."""
        every = self.study.get_trials(deepcopy=False)
        again = {t.user_attrs.get("again") for t in every}
        return [t for t in every if t.number not in again and (not states or t.state.name in states)]

    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, with or without a value."""
        return self._every("COMPLETE", "PRUNED", "FAIL")

    def bad(self) -> list[FrozenTrial]:
        """The trials that have ended without a value and were not given up."""
        return [t for t in self.ended() if state_of(t) not in ("done", "given up early")]

    def enqueue(self, retry_failed: bool) -> None:
        """Puts every point of the grid into Optuna's queue, each once, and the trials to be retried."""
        again = list(filter(can_retry, self.bad())) if retry_failed else []
        if self.search.sampler == "grid":
            points = self.request.grid()[: self.search.trials]
            if self.search.pruner == "none":
                again += [
                    t
                    for t in self._every("PRUNED")
                    if state_of(t) == "given up early" and self.known_point(t) in points
                ]
            for point in points:
                self.study.enqueue_trial(self.request.parameters(point), skip_if_exists=True)
        for t in again:
            self.study.enqueue_trial(t.params, user_attrs={"again": t.number})

    def left(self) -> int:
        """How many trials may still be started."""
        every = self._every()
        waiting = [t for t in every if t.state.name == "WAITING"]
        again = sum("again" in t.user_attrs for t in waiting)
        left = max(0, self.search.trials - (len(every) - len(waiting)) - again)
        return again + (min(left, len(waiting) - again) if self.search.sampler == "grid" else left)

    def ask(self) -> Trial:
        """The next trial."""
        number, ended, search = len(self.study.get_trials(deepcopy=False)), self.ended(), self.search
        if search.sampler == "gp" and ended and state_of(ended[-1]) != "done":
            # GP learns from values alone, and would suggest the same point again.
            search = dataclasses.replace(search, sampler="random")
        self.study.sampler = search.sampler_of(self.study, number)
        return self.study.ask()

    def running(self) -> list[tuple[Trial, int]]:
        """The trials that an earlier driver left running, each with the step that its curve is reported up to."""
        import optuna

        left_running = []
        for frozen in self._every("RUNNING"):
            self.study.sampler = self.search.sampler_of(self.study, frozen.number)
            # Only the id, which is private, leads to a trial of another process.
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            left_running.append((trial, max(frozen.intermediate_values, default=-1)))
        return left_running

    def known_point(self, trial: FrozenTrial) -> Point | None:
        """The point of a trial; None if it was not suggested completely."""
        whole = all(a.name in trial.params for a in self.axes)
        return self.request.point(trial.params) if whole else None

    def point_of(self, trial: Trial) -> Point:
        """The point of a trial; its missing values are suggested.

        Each axis has its own seed: a trial that was killed between two suggestions gets the same point.
        """
        rows = [row.name for row in self.request.chosen_rows()]
        trial.relative_params  # noqa: B018  suggests values for all axes together, by the seed of the trial
        self.study.sampler = self.search.sampler_of(self.study, trial.number, ROW)
        parameters: dict[str, Any] = {ROW: trial.suggest_categorical(ROW, rows)} if len(rows) > 1 else {}
        for axis in self.axes:
            self.study.sampler = self.search.sampler_of(self.study, trial.number, axis.name)
            parameters |= {axis.name: axis.suggest(trial)}
        return self.request.point(parameters)
