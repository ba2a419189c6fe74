"""The finished run that `--run ID` names."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass

from harness.experiments.experiment import Experiment
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
    store = Store(options.runs)
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
            named = ", ".join(other.key for other in of_row[:NAMED]) + (", ..." if len(of_row) > NAMED else "")
            raise Mistake(f"several runs of {stage} share {run.stage} {run.key}: name one of them, {named}")
    raise Mistake(
        f"{run.key} is a run of the stage {run.stage}, and no run of {' or '.join(stages)} of its row is done"
    )


def _shares(other: Run, run: Run) -> bool:
    """Whether the row that `other` was made for also has `run`."""
    with contextlib.suppress(Mistake, Damaged):  # made by other code, or damaged: nobody knows its row
        return run.key in {t.key for t in tasks([experiment_of(other)])}
    return False
