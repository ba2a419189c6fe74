"""Every kind of tokenizer: it resumes to the bit, and the number of parts of a batch changes rounding only."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from harness.execution.worker import Place, perform
from harness.experiments.experiment import Experiment, Training
from harness.planning.stage import PLAIN, Execution, Work
from harness.planning.task import tasks
from harness.store.runs import Run, Store
from harness.system.machine import Machine, this_machine
from harness.training.loop import Learner, Trained, train
from models.variants import VARIANTS
from tests.conftest import experiment

SMALL = {
    "data__train_images": 32,
    "data__val_images": 16,
    "training__steps": 8,
    "training__warmup_steps": 1,
    "training__batch_images": 8,
    "finetuning__share": 0.5,
}
KINDS = [*(name for name, v in VARIANTS.items() if "name" in v.fields), "lagging_decoder", "latent_dropout"]


def trained(runs: Path, asked: Experiment, stop: int = -1, execution: Execution = PLAIN) -> list[Run]:
    """The trainings of a row, the tokenizer's stopped once at a step and called again."""
    this_machine()  # deterministic kernels
    store, found = Store(runs), []
    for t in tasks([asked], ("finetuning",)):
        steps = itertools.count()
        at = stop if t.stage in ("tokenizer", "finetuning") else -1
        place = Place(
            Machine("cpu", "float32", 1),
            lambda steps=steps, at=at: next(steps) == at,
            execution=execution,
            quiet=True,
        )
        states = [perform(t, store, "", place)]
        if states == ["stopped"]:
            states.append(perform(t, store, "", place))
        assert states[-1] == "done", t.stage
        if t.stage in ("tokenizer", "finetuning"):
            assert len(states) == 1 + (stop >= 0)
            found.append(t.run_in(store))
    return found


def curves(run: Run) -> str:
    return (run.folder / "metrics.csv").read_text()


@pytest.mark.parametrize("variant", KINDS)
def test_it_resumes_to_the_bit_and_takes_any_number_of_parts(variant, tmp_path):
    asked = experiment(variant, **SMALL)
    whole = trained(tmp_path / "whole", asked)
    stopped = trained(tmp_path / "stopped", asked, stop=3)
    for one, other in zip(whole, stopped, strict=True):
        assert curves(one) == curves(other)
        assert (one.folder / "weights.safetensors").read_bytes() == (other.folder / "weights.safetensors").read_bytes()
    parts = trained(tmp_path / "parts", asked, execution=Execution(2))
    # A factor that depends on gradients, an entropy over a batch, and nearest codes are those of every part by itself.
    t = asked.tokenizer
    close = 0.05 if t.foundation.on or t.soft_codes.on or t.codes.on else 2e-3
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(errors(one), errors(other), rtol=close)


def errors(run: Run) -> list[float]:
    """The squared errors on val over the training."""
    lines = [line.split(",") for line in curves(run).splitlines()[1:]]
    return [float(value) for _, name, value in lines if name == "val/error"]


def test_fine_tuning_goes_on_with_the_scale_of_the_likelihood(tmp_path, monkeypatch):
    scales = []

    def watched(work: Work, training: Training, learner: Learner) -> Trained:
        if (tuned := getattr(learner.objective, "objective", None)) is not None:
            scales.append(tuned.log_scale.item())
        done = train(work, training, learner)
        if tuned is not None:
            scales.append(tuned.log_scale.item())
        return done

    monkeypatch.setattr("harness.training.loop.train", watched)
    tokenizer, _ = trained(tmp_path, experiment("va_vae", **SMALL))
    learned, (began, ended) = tokenizer.fact("log_scale"), scales
    assert learned != 0
    assert began == pytest.approx(learned, rel=1e-6)
    assert ended != began
