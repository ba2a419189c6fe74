"""The finished run that `--run ID` names."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from harness.experiments.experiment import Experiment
from harness.planning.task import experiment_of
from harness.store.runs import Run, Store
from harness.system.errors import Mistake

TOKENIZING = ("generation", "evaluation", "finetuning", "tokenizer")  # stages whose runs stand for a tokenizer


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
    """The run that `--run ID` names. Raises `Mistake` if it is not a finished run of one of `stages`."""
    store = Store(options.runs)
    run = store.find(options.run)
    if run.stage not in stages:
        raise Mistake(f"{run.key} is a run of the stage {run.stage}, and not of {' or '.join(stages)}")
    if run.state != "done":
        raise Mistake(f"{run.stage} {run.key} is not finished, but {run.state}")
    return FinishedRun(run, experiment_of(run), store.lineage(run))
