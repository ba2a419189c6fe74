"""The finished run that `--run ID` names."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from harness.cli.arguments import existing_store
from harness.experiments.experiment import Experiment
from harness.planning.request_log import remembered_requests
from harness.planning.task import experiment_of, tasks
from harness.store.runs import Damaged, Run, Store
from harness.system.errors import Mistake

# Stages whose runs stand for a tokenizer. The first one of a row that is done has its final decoder.
TOKENIZING = ("finetuning", "tokenizer", "evaluation", "generation")
NAMED = 8  # runs in a message


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, its experiment, and the runs that it rests on, itself included, by stage."""

    run: Run
    experiment: Experiment
    runs: dict[str, Run]

    @property
    def decoder(self) -> Run:
        """The run with the decoder: the fine-tuning if the run rests on one, else the tokenizer."""
        return self.runs.get("finetuning", self.runs["tokenizer"])


def chosen_run(options: argparse.Namespace, stages: tuple[str, ...]) -> FinishedRun:
    """The finished run of one of `stages` that `--run ID` names, by its own id or that of another stage of its row.

    Raises `Mistake` if there is none, or several.
    """
    store = existing_store(options)
    run = of_stage(store.find(options.run), stages, store)
    if run.state != "done":
        raise Mistake(f"{run.stage} {run.key} is not finished, but {run.state}")
    return FinishedRun(run, experiment_of(run), store.lineage(run))


def of_stage(run: Run, stages: tuple[str, ...], store: Store) -> Run:
    """`run` if it is of one of `stages`, else the finished run of the first of them in the rows that `run` belongs to.

    Raises `Mistake` if there is none, or if the rows have several.
    """
    if run.stage in stages:
        return run
    finished = [
        other for other in store.runs() if other.stage in stages and other.state == "done" and _shares(other, run)
    ]
    for stage in stages:
        of_row = [other for other in finished if other.stage == stage]
        if len(of_row) == 1:
            return of_row[0]
        if of_row:
            named = ", ".join(_with_rows(of_row[:NAMED], store)) + (", ..." if len(of_row) > NAMED else "")
            raise Mistake(f"several runs of {stage} share {run.stage} {run.key}: name one of them, {named}")
    raise Mistake(
        f"{run.key} is a run of the stage {run.stage}, and no run of {' or '.join(stages)} of its row is done"
    )


def _with_rows(runs: Sequence[Run], store: Store) -> list[str]:
    """The keys of runs, each with its seed and with the rows of requests that want it."""
    plans = [request.plan for request in remembered_requests(store) if request.plan is not None]
    rows = {t.key: f"{rows}, " for plan in plans for t, rows in plan.labels.items()}
    return [f"{run.key} ({rows.get(run.key, '')}seed {experiment_of(run).seed})" for run in runs]


def _shares(other: Run, run: Run) -> bool:
    """Whether the row that `other` was made for also has `run`."""
    with contextlib.suppress(Mistake, Damaged):  # made by other code, or damaged: nobody knows its row
        return run.key in {t.key for t in tasks([experiment_of(other)])}
    return False
