"""What the store holds of a study: states, numbers, curves, costs and provenance of every row and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.npyio import NpzFile

from harness.evaluation import collapse, records
from harness.experiments.experiment import Experiment
from harness.experiments.requests import stages_of_row
from harness.experiments.study import Row
from harness.planning.task import tasks
from harness.store.curves import CURVES
from harness.store.records import Record
from harness.store.runs import Run, Store


@dataclass(frozen=True)
class Result:
    """One row and seed. Stages that have not run, or failed, are absent from what it tells."""

    row: Row
    experiment: Experiment
    runs: dict[str, Run]

    @cached_property
    def state(self) -> str:
        """`done`, or the first stage that is not and why."""
        for stage, run in self.runs.items():
            status, state = run.status(), run.state
            if state != "done":
                what = "not run" if state == "waiting" else f"{stage} {state}"
                return f"{what}: {status['reason']}" if status["reason"] else what
        return "done"

    def done(self, stage: str) -> Run | None:
        """The run of `stage` if it is finished."""
        run = self.runs.get(stage)
        return run if run is not None and run.state == "done" else None

    def records(self, stage: str) -> list[Record]:
        """The numbers of `stage`, none where it is not finished."""
        run = self.done(stage)
        return run.records() if run else []

    def arrays(self, stage: str, name: str) -> NpzFile | None:
        """The arrays of an npz file that `stage` made; None where it is not finished, or the file was left behind."""
        run = self.done(stage)
        if run is None or not (run.folder / name).exists():
            return None
        found: NpzFile = np.load(run.file(name))
        return found

    def value(self, metric: str, split: str = "val", stage: str = "evaluation") -> Record | None:
        """The record of a metric at the end."""
        found = [r for r in self.records(stage) if r.metric == metric and r.split == split]
        return max(found, key=lambda r: r.step) if found else None

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Metrics over the training of the tokenizer."""
        return self.curves_of("tokenizer")

    def curves_of(self, stage: str) -> pd.DataFrame:
        """Metrics over the training of a stage: index step, a column a metric; empty where there is none."""
        if stage not in self.runs:
            return pd.DataFrame()
        run = self.runs[stage]
        if run.state == "done" and CURVES in run.result()["files"]:
            run.file(CURVES)  # which checks it
        return run.curves.frame()

    def curve(self, metric: str) -> pd.Series:
        """A metric over the steps of the tokenizer's training, from its curves or from the snapshots."""
        if metric in self.curves:
            return self.curves[metric].dropna()
        return self.points(metric, "snapshots")

    def points(self, metric: str, stage: str) -> pd.Series:
        """A metric by the step of the snapshots that `stage` measures."""
        found = {r.step: r.value for r in self.records(stage) if r.metric == metric}
        return pd.Series(found, dtype=float).sort_index()

    @cached_property
    def status(self) -> str:
        """The status of its collapse, or what went wrong with it."""
        if not self.done("tokenizer"):
            return self.state
        if not self.experiment.tokenizer.gaussian.on:
            return "undefined (no KL)"
        return collapse.status(self.curve("val/kl").tolist(), self.curve("val/active_units").tolist())


def load(
    by_row: dict[Row, list[Experiment]], store: Store, stages: Callable[[Experiment], tuple[str, ...]] = stages_of_row
) -> list[Result]:
    """One result a row and seed, in the order of the rows, of all runs that `stages` take."""

    def runs(experiment: Experiment) -> dict[str, Run]:
        return {task.stage: task.run_in(store) for task in tasks([experiment], stages(experiment))}

    return [Result(row, e, runs(e)) for row, experiments in by_row.items() for e in experiments]


def shared(results: Sequence[Result], stage: str) -> Run | None:
    """The first finished run of a stage that rows share."""
    return next((run for r in results if (run := r.done(stage)) is not None), None)


def protocol_of(results: Sequence[Result], metric: str, split: str = "val", stage: str = "evaluation") -> str:
    """The name of the protocol by which all results have a metric; of the network's own where they differ or have none.

    So nothing is called FID of which a part is not.
    """
    found = [r for result in results if (r := result.value(metric, split, stage)) is not None]
    named = {records.protocol_in(r.protocol_id) for r in found}
    measures = {result.experiment.evaluation.network for result in results}
    return named.pop() if len(named) == 1 else (len(measures) == 1 and measures.pop()) or records.PROTOCOL


def rows_of(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results by row name, in order."""
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(result.row.name, []).append(result)
    return rows


def environments(results: Sequence[Result]) -> list[tuple[str, dict[str, Any]]]:
    """Stage and environment of every attempt at every finished run, each run once."""
    runs = {run.folder: run for r in results for run in r.runs.values() if run.state == "done"}
    return [(run.stage, attempt["environment"]) for run in runs.values() for attempt in run.status()["attempts"]]


PROVENANCE = {
    "commit": "commits",
    "data_content": "contents of the data set",
    "dtype": "dtypes",
    "device": "devices",
    "processor": "processors",
    "threads": "thread counts",
    "world_size": "numbers of processes",
}
# A cluster gives every stage what it needs, and numbers may be measured anew by later code: these only have to be the
# same for one stage of all rows. What code a result depends on is in its key, by the revision of the stage.
OF_STAGES = ("commit", "dtype", "device", "processor", "threads", "world_size")


def mixtures(results: Sequence[Result]) -> list[str]:
    """What the rows of a table, and the attempts behind them, do not share and should: one sentence each."""
    found, seen = [], environments(results)
    for name, plural in PROVENANCE.items():
        values: dict[str, set[str]] = {}
        for stage, e in seen:
            values.setdefault(stage if name in OF_STAGES else "", set()).add(str(e[name]))
        mixed = {stage: sorted(several - {""}) for stage, several in values.items() if len(several - {""}) > 1}
        if mixed:
            where = f" (in the stages {', '.join(mixed)})" if name in OF_STAGES else ""
            shown = sorted({value[: 12 if name == "commit" else 40] for several in mixed.values() for value in several})
            found.append(f"The rows mix {plural}: {', '.join(shown)}{where}.")
    if any(e["uncommitted"] for _, e in seen):
        found.append("Some runs were made with uncommitted changes; their status.json holds the difference.")
    return found


def costs(results: Sequence[Result]) -> pd.DataFrame:
    """Wall-clock seconds: a line a row of the study (mean over its seeds), a column a stage; what rows share apart."""
    users: dict[Path, tuple[Run, set[Row]]] = {}
    for r in results:
        for run in r.runs.values():
            users.setdefault(run.folder, (run, set()))[1].add(r.row)
    lines = pd.DataFrame(
        {
            "row": next(iter(rows)).name if len(rows) == 1 else "shared by rows",
            "stage": run.stage,
            "seconds": run.seconds,
        }
        for run, rows in users.values()
    )
    frame = lines.pivot_table(index="row", columns="stage", values="seconds", aggfunc="mean", fill_value=0)
    names = ["shared by rows", *(r.row.name for r in results)]
    frame = frame.loc[[name for name in dict.fromkeys(names) if name in frame.index]]
    stages = dict.fromkeys(stage for r in results for stage in r.runs)  # in the order in which they run
    return frame[list(stages)].assign(sum=frame.sum(axis=1))


def total_seconds(results: Sequence[Result]) -> float:
    """Wall-clock seconds of all runs, each once."""
    return sum(run.seconds for run in {run.folder: run for r in results for run in r.runs.values()}.values())
