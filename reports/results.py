"""Results of a study in the store: states, numbers, curves, costs and provenance of every row and seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.evaluation import collapse, records
from harness.evaluation.protocols import network_in
from harness.experiments.experiment import Data, Experiment
from harness.experiments.requests import stages_of_row
from harness.experiments.study import Row
from harness.planning.task import tasks
from harness.store import schema
from harness.store.curves import CURVES
from harness.store.records import Record
from harness.store.runs import FINAL, Run, Store
from harness.system.files import digest
from harness.system.texts import plain_markdown

PICTURES = "reconstructions.npz"  # of the evaluation: where it is, the other arrays are
OF_TRANSFER = " of transfer"  # the end of the names of stages on the other data set
SHARED = "shared by rows"  # the line of costs for runs of several rows
OF_GENERATOR = (
    *("generator", "generator_snapshots", "samples", "guidance", "guided_samples", "generation"),
    "plugin_generation",
)


@dataclass(frozen=True)
class Result:
    """The results of one row and seed. Stages that have not run or have failed have none.

    `repeats` are those of further generators and samples of the same tokenizer: numbers of generation are means.
    """

    row: Row
    experiment: Experiment
    runs: dict[str, Run]
    repeats: tuple[Result, ...] = field(default=(), kw_only=True)

    @property
    def all_runs(self) -> list[Run]:
        """Every run, also those of repeats; one that they share counts once for each."""
        return [run for of in (self.runs, *(r.runs for r in self.repeats)) for run in of.values()]

    @property
    def data(self) -> Data:
        """The data set that its numbers are of. Whether trainings mirror images does not count."""
        return dataclasses.replace(self.experiment.data, flip=True)

    def comparable(self, other: Result, stage: str) -> bool:
        """Whether the numbers of a stage are of the same images as those of `other`.

        The training images are the reference of generated images, so that their number counts there. Of one seed the
        content of the data set has to be the same: seeds are paired.
        """
        ours, theirs = self.data, other.data
        if stage not in OF_GENERATOR:
            theirs = dataclasses.replace(theirs, train_images=ours.train_images)
        paired = self.experiment.seed == other.experiment.seed and self.contents and other.contents
        return ours == theirs and not (paired and self.contents != other.contents)

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """The contents of the data set in its finished runs: several if it changed between them; none if not known."""
        own = [run for run in self.all_runs if run.stage != "transfer" and run.folder not in self._of_transfer]
        attempts = [a["environment"] for run in own if run.state == "done" for a in run.status()["attempts"]]
        return tuple(sorted({content for e in attempts if (content := str(e.get("data_content", "")))}))

    @property
    def _of_transfer(self) -> set[Path]:
        """The folders of runs on the other data set."""
        return {run.folder for stage, run in self.runs.items() if stage.endswith(OF_TRANSFER)}

    @cached_property
    def state(self) -> str:
        """`done`, or the first stage that is not done and the reason."""
        for run in self.all_runs:
            stage = run.stage
            status, state = run.status(), run.state
            if state != "done":
                text = "not run" if state == "waiting" else f"{stage} {state}"
                return f"{text}: {plain_markdown(status['reason'])}" if status["reason"] else text
        return "done"

    def done(self, stage: str) -> Run | None:
        """The run of `stage`; None if it is not finished."""
        run = self.runs.get(stage)
        return run if run is not None and run.state == "done" else None

    def records(self, stage: str) -> list[Record]:
        """The records of `stage`, read once; empty if it is not finished."""
        if stage not in self._read:
            run = self.done(stage)
            self._read[stage] = run.records() if run else []
        return self._read[stage]

    @cached_property
    def _read(self) -> dict[str, list[Record]]:
        return {}

    def arrays(self, stage: str, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an npz file of `stage`; None if it is not finished or the file is missing."""
        return self.runs[stage].arrays(name) if self.has(stage, name) else None

    def has(self, stage: str, name: str) -> bool:
        """Whether `stage` is finished and its file is here: results that were read from text have no arrays."""
        run = self.done(stage)
        return run is not None and (run.folder / name).exists()

    @property
    def latents_stage(self) -> str:
        """The stage that measured the latents: `diagnosis` where nothing was reconstructed."""
        return "evaluation" if "evaluation" in self.runs else "diagnosis"

    def value(self, metric: str, split: str = "val", stage: str = "evaluation") -> Record | None:
        """The last record of a metric, with the mean over repeats; None if it was not measured."""
        own = self.own_value(metric, split, stage)
        if own is None or not self.repeats or stage not in OF_GENERATOR:
            return own
        others = [found.value for r in self.repeats if (found := r.own_value(metric, split, stage)) is not None]
        return dataclasses.replace(own, value=(own.value + sum(others)) / (1 + len(others)))

    def number(self, metric: str, split: str, stage: str) -> float | None:
        """The value alone; None if it was not measured."""
        record = self.value(metric, split, stage)
        return None if record is None else record.value

    def own_value(self, metric: str, split: str, stage: str) -> Record | None:
        """The last record of a metric without repeats."""
        matches = [r for r in self.records(stage) if r.metric == metric and r.split == split]
        return max(matches, key=lambda r: r.step) if matches else None

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Metrics over the training of the tokenizer."""
        return self.curves_of("tokenizer")

    def curves_of(self, stage: str) -> pd.DataFrame:
        """Metrics over the training of a stage, indexed by step, one column per metric; empty if there are none."""
        if stage not in self.runs:
            return pd.DataFrame()
        run = self.runs[stage]
        if run.state == "done" and CURVES in run.result()["files"]:
            run.file(CURVES)  # raises if the file is damaged
        return run.curves.frame()

    def curve(self, metric: str) -> pd.Series:
        """A metric by the step of the tokenizer's training, from its curves or from the snapshots."""
        if metric in self.curves:
            return self.curves[metric].dropna()
        return self.points(metric, "snapshots")

    def points(self, metric: str, stage: str) -> pd.Series:
        """A metric by step, at the snapshots that `stage` measures; the mean over repeats."""
        found = []
        for of in (self, *self.repeats):
            values = {r.step: r.value for r in of.records(stage) if r.metric == metric}
            found.append(pd.Series(values, dtype=float).sort_index())
        return pd.concat(found, axis=1).mean(axis=1, skipna=False) if self.repeats else found[0]

    @cached_property
    def status(self) -> str:
        """The status of posterior collapse, or the state if the tokenizer is not trained."""
        if not self.done("tokenizer"):
            return self.state
        if not self.experiment.tokenizer.gaussian.on:
            return "undefined (no KL)"
        optimum = self.value("linear_gaussian_kl", stage=self.latents_stage)
        kl, shuffled = (self.curve(f"val/{name}").tolist() for name in ("kl", "shuffled_error"))
        return collapse.status(kl, shuffled, optimum.value if optimum else None)


def load(
    by_row: dict[Row, list[Experiment]], store: Store, stages: Callable[[Experiment], tuple[str, ...]] = stages_of_row
) -> list[Result]:
    """One result per row and seed, in the order of the rows, with the runs of `stages`, repeats within their seed."""

    def runs(experiment: Experiment) -> dict[str, Run]:
        return {
            task.stage if task.experiment == experiment else f"{task.stage}{OF_TRANSFER}": task.run_in(store)
            for task in tasks([experiment], stages(experiment))
        }

    found = []
    for row, experiments in by_row.items():
        of_seeds: dict[int, list[Result]] = {}
        for e in experiments:
            of_seeds.setdefault(e.seed, []).append(Result(row, e, runs(e)))
        found += [dataclasses.replace(first, repeats=tuple(others)) for first, *others in of_seeds.values()]
    return found


def made_from(results: Sequence[Result]) -> str | None:
    """The digest of all runs, results and what pictures show; None if any of them may still change."""
    content: list[Any] = [[r.has("evaluation", PICTURES) for r in results]]
    for r in results:
        for run in r.all_runs:
            if run.state not in FINAL:
                return None
            content.append([r.row.name, run.stage, run.key, run.result() if run.state == "done" else run.status()])
    return digest(content)


def shared(results: Sequence[Result], stage: str) -> Run | None:
    """The first finished run of a stage that the rows share; None if there is none."""
    return next((run for r in results if (run := r.done(stage)) is not None), None)


def by_seeds(told: Iterable[tuple[Result, str]]) -> list[str]:
    """What is told of rows and seeds, as texts: a row of which several seeds have the same has one."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for result, text in told:
        seeds.setdefault((result.row.name, text), []).append(result.experiment.seed)
    return [f"{row} (seed{'s' * (len(of) > 1)} {', '.join(map(str, of))}): {text}" for (row, text), of in seeds.items()]


def unfinished(results: Sequence[Result]) -> list[str]:
    """Sentences on the rows that are not finished, with their seeds and states."""
    return [f"{text}." for text in by_seeds((r, r.state) for r in results if r.state != "done")]


def data_sets(results: Sequence[Result]) -> dict[Data, str]:
    """The data sets of a page with what tells each from the others; empty if all rows have the same."""
    found = list(dict.fromkeys(r.data for r in results))
    if len(found) < 2:
        return {}
    names = [f.name for f in dataclasses.fields(Data) if f.name not in ("name", "argument")]
    told = [name for name in names if len({getattr(data, name) for data in found}) > 1]
    return {data: ", ".join([data.full_name, *(f"{name}={getattr(data, name)}" for name in told)]) for data in found}


def by_data_set(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results by the name of their data set, which is empty if all rows have the same."""
    names = data_sets(results)
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(names.get(result.data, ""), []).append(result)
    return found


def protocol_of(results: Sequence[Result], metric: str, split: str = "val", stage: str = "evaluation") -> str:
    """The name of the protocol of a metric in all results, or of their network if they have several protocols or none.

    So a column is called FID only if all of its numbers are FID, and says so if a number is by other weights.
    """
    measured = [r for result in results if (r := result.value(metric, split, stage)) is not None]
    names = {records.protocol_in(r.protocol_id) for r in measured}
    if others := sorted(name for name in names if network_in(name)[1]):
        return others[0]
    measures = {result.experiment.evaluation.measure for result in results}
    return names.pop() if len(names) == 1 else (len(measures) == 1 and measures.pop()) or records.PROTOCOL


def images_note(results: Sequence[Result], main_set: str = "") -> str:
    """A sentence on N, the images of a number of reconstruction, and of generation by `main_set` if there is any."""
    places = {"reconstruction": ("rfd", "val", "evaluation")}
    places |= {"generation": ("gfd", main_set, "generation")} if main_set else {}
    told = []
    for kind, place in places.items():
        if numbers := sorted({r.n for result in results if (r := result.value(*place)) is not None}):
            told.append(f"{' or '.join(f'{n:,}' for n in numbers)} for {kind}")
    return f"Number of images N: {', '.join(told)}." if told else ""


def trained_here(results: Sequence[Result]) -> list[Result]:
    """The results without those of tokenizers from outside, which no gate and no claim of the paper is about."""
    return [r for r in results if not r.experiment.tokenizer.outside.on]


def rows_of(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results by the name of their row, in order."""
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(result.row.name, []).append(result)
    return rows


def share_training(results: Sequence[Result], row: str, other: str) -> bool:
    """Whether two rows have the same trained tokenizer in every seed that both have: they differ in what follows."""
    ones, others = (
        {r.experiment.seed: r.runs.get("tokenizer") for r in rows_of(results).get(n, [])} for n in (row, other)
    )
    pairs = [(run, others[seed]) for seed, run in ones.items() if seed in others]
    return bool(pairs) and all(a is not None and b is not None and a.folder == b.folder for a, b in pairs)


def pictured(results: Sequence[Result]) -> list[Result]:
    """The results that pictures show: those of the first seed with images in the store, or of the first seed."""
    with_images = (r for r in results if r.has("evaluation", PICTURES))
    shown = min((r.experiment.seed for r in with_images), default=results[0].experiment.seed)
    return [r for r in results if r.experiment.seed == shown]


def by_row_and_seed(results: Sequence[Result], of: Callable[[Result], float | None]) -> dict[str, dict[int, float]]:
    """What `of` says of every row and seed, where that is finite."""
    values: dict[str, dict[int, float]] = {}
    for r in results:
        of_row = values.setdefault(r.row.name, {})
        if (value := of(r)) is not None and math.isfinite(value):
            of_row[r.experiment.seed] = value
    return values


def environments(results: Sequence[Result]) -> list[tuple[str, dict[str, Any]]]:
    """Stage and environment of every attempt of every finished run; each run counts once."""
    runs = {run.folder: run for r in results for run in r.all_runs if run.state == "done"}
    attempts = [(run.stage, attempt["environment"]) for run in runs.values() for attempt in run.status()["attempts"]]
    return [(stage, recorded) for stage, recorded in attempts if schema.is_environment(recorded)]


def costs(results: Sequence[Result]) -> pd.DataFrame:
    """Wall-clock seconds by row (mean over its seeds) and stage, with a separate line for runs that rows share."""
    users: dict[Path, tuple[Run, set[Row]]] = {}
    for r in results:
        for run in r.all_runs:
            users.setdefault(run.folder, (run, set()))[1].add(r.row)
    lines = pd.DataFrame(
        {
            "row": next(iter(rows)).name if len(rows) == 1 else SHARED,
            "stage": run.stage,
            "seconds": run.seconds,
        }
        for run, rows in users.values()
    )
    frame = lines.pivot_table(index="row", columns="stage", values="seconds", aggfunc="mean", fill_value=0)
    names = [SHARED, *(r.row.name for r in results)]
    frame = frame.loc[[name for name in dict.fromkeys(names) if name in frame.index]]
    stages = dict.fromkeys(
        stage for r in results for stage in (run.stage for run in r.runs.values())
    )  # in the order of execution
    return frame[list(stages)].assign(sum=frame.sum(axis=1))


def total_seconds(results: Sequence[Result]) -> float:
    """Wall-clock seconds of all runs; each run counts once."""
    return sum(run.seconds for run in {run.folder: run for r in results for run in r.all_runs}.values())
