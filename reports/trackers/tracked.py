"""What a tracker shows of a row and seed: its fields, its curves by step, and its numbers with their protocols."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from functools import cached_property

from harness.experiments.experiment import effective_fields
from harness.planning.plan import Plan, seed_text
from harness.store.records import Record
from harness.store.runs import FINAL, Run, Store
from harness.system.files import digest
from reports.results import Result, load

Points = list[tuple[int, dict[str, float]]]


@dataclass(frozen=True)
class TrackedRun:
    """One row and seed of a page."""

    page: str
    result: Result

    @property
    def name(self) -> str:
        """The row and its seeds, without slashes, so that it can be the name of a folder."""
        return re.sub(r"[/\0]", "_", f"{self.result.row.name}, seed {seed_text(self.result.experiment)}")

    @property
    def id(self) -> str:
        """16 digits that stand for the page, the row and everything that its results depend on."""
        return digest([self.page, self.name, {stage: run.key for stage, run in self.result.runs.items()}])[:16]

    @property
    def content(self) -> str:
        """16 digits that stand for everything that a tracker shows of it."""
        numbers = {tag: astuple(record) for tag, record in self.numbers.items()}
        return digest([self.result.state, self.began, self.fields, self.curves, numbers])[:16]

    @property
    def began(self) -> float:
        """When its first stage began (Unix time); 0.0 if none has."""
        attempts = (attempt["began"] for run in self.result.runs.values() for attempt in run.status()["attempts"])
        return min(attempts, default=0.0)

    @cached_property
    def fields(self) -> dict[str, bool | int | float | str]:
        """The fields of its experiment that have an influence, by dotted path; those that are None are left out."""
        fields = {path: value for path, value in effective_fields(self.result.experiment).items() if value is not None}
        plain = (bool, int, float, str)
        return {path: value if isinstance(value, plain) else str(value) for path, value in fields.items()}

    @cached_property
    def curves(self) -> dict[str, Points]:
        """Steps in rising order and the values at each of them, as STAGE/METRIC, by stage.

        The newest step of a stage that is not finished is left out: more of it may be logged later.
        """
        found = {stage: self._points(stage, run) for stage, run in self.result.runs.items()}
        return {stage: points for stage, points in found.items() if points}

    def _points(self, stage: str, run: Run) -> Points:
        steps: dict[int, dict[str, float]] = {}
        for entry in run.curves.entries():
            steps.setdefault(entry.step, {})[f"{stage}/{entry.metric}"] = entry.value
        if run.state not in FINAL:
            steps.pop(max(steps, default=0), None)
        for r in self.result.records(stage) if self._is_curve(stage) else ():
            steps.setdefault(r.step, {})[f"{stage}/{r.split}/{r.metric}"] = r.value
        return sorted(steps.items())

    def _is_curve(self, stage: str) -> bool:
        """Whether a stage measures at several steps of a training."""
        return len({r.step for r in self.result.records(stage)}) > 1

    @cached_property
    def numbers(self) -> dict[str, Record]:
        """Its final numbers, as final/STAGE/SPLIT/METRIC."""
        stages = [stage for stage in self.result.runs if not self._is_curve(stage)]
        return {f"final/{stage}/{r.split}/{r.metric}": r for stage in stages for r in self.result.records(stage)}


def tracked_runs(plan: Plan, store: Store) -> list[TrackedRun]:
    """The rows and seeds of a plan that have curves or numbers, every repeat of a generator or of samples included."""
    results = load(plan.by_row, store, plan.request.stages)
    runs = [TrackedRun(plan.request.page, one) for first in results for one in (first, *first.repeats)]
    return [run for run in runs if run.curves or run.numbers]
