"""A tokenizer trained beside a discriminator: named terms, exact resume, any number of parts."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.execution.worker import Place, perform
from harness.experiments.experiment import Experiment
from harness.networks.roles import Roles
from harness.planning.stage import PLAIN, Execution
from harness.planning.task import task, tasks
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from harness.system.machine import Machine, this_machine
from harness.training.checkpoints import read_checkpoint
from tests.conftest import experiment

START, STEPS = 3, 8
SMALL = {
    "data__train_images": 32,
    "data__val_images": 16,
    "training__steps": STEPS,
    "training__warmup_steps": 1,
    "training__batch_images": 8,
    "finetuning__share": 0.5,
    "tokenizer__adversarial__on": True,
    "tokenizer__adversarial__start_step": START,
}
GAN = experiment("kl_vae", **SMALL)
OF_GAN = {"adversarial", "adaptive_weight", "discriminator", "consistency", "lecam", "logits_real", "logits_fake"}


def made(
    runs: Path, asked: Experiment, stop: Callable[[str], int] = lambda stage: -1, execution: Execution = PLAIN
) -> dict[str, Run]:
    """The runs of the trainings, each asked to stop once, at its step `stop(stage)`, and called again."""
    this_machine()  # deterministic kernels
    store = Store(runs)
    for t in tasks([asked], ("finetuning",)):
        steps = itertools.count()
        place = Place(
            Machine("cpu", "float32", 1),
            lambda steps=steps, t=t: next(steps) == stop(t.stage),
            execution=execution,
            quiet=True,
        )
        states = [perform(t, store, "", place)]
        if states == ["stopped"]:
            assert read_checkpoint(t.run_in(store).folder / "checkpoint.pt")["adversary"] is not None
            states.append(perform(t, store, "", place))
        assert states == (["stopped", "done"] if stop(t.stage) >= 0 else ["done"]), t.stage
    return {stage: task(stage, asked).run_in(store) for stage in ("tokenizer", "finetuning")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return made(tmp_path_factory.mktemp("undisturbed"), GAN)


def curves(run: Run) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    with (run.folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["metric"], {})[int(row["step"])] = float(row["value"])
    return found


def test_every_term_is_a_named_number(undisturbed):
    for run in undisturbed.values():
        logged = {name.removeprefix("train/") for name in curves(run)}
        assert logged >= OF_GAN | {"reconstruction", "perceptual", "loss"}


def test_nothing_of_it_is_there_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.training.loop.LOG_STEPS", 1)
    steps = curves(made(tmp_path, GAN)["tokenizer"])["train/discriminator"]
    assert list(steps) == list(range(START + 1, STEPS + 1))


def test_what_it_adds_to_the_loss_is_weighted(undisturbed):
    c = curves(undisturbed["finetuning"])
    last = {name: max(values.items())[1] for name, values in c.items()}
    perceptual = GAN.tokenizer.perceptual.weight
    images = last["train/reconstruction"] + perceptual * last["train/perceptual"]
    adversarial = GAN.tokenizer.adversarial.weight * last["train/adaptive_weight"] * last["train/adversarial"]
    assert last["train/loss"] == pytest.approx(images + adversarial, rel=1e-5)
    assert last["train/adversarial"] == pytest.approx(-last["train/logits_fake"], rel=1e-4)


@pytest.mark.parametrize("step", [START - 1, START + 1, STEPS - 1])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(step, undisturbed, tmp_path):
    """At any step: before the discriminator learns, in its first steps, at the end."""
    resumed = made(tmp_path, GAN, lambda stage: {"tokenizer": step, "finetuning": 1 + step // 4}.get(stage, -1))
    for stage, run in undisturbed.items():
        names = sorted(run.result()["files"])
        assert {"weights.safetensors", "metrics.csv"} <= set(names)
        assert "discriminator.safetensors" in names or stage == "finetuning"
        assert sorted(resumed[stage].result()["files"]) == names
        for name in names:
            assert (resumed[stage].folder / name).read_bytes() == (run.folder / name).read_bytes(), (stage, name)


def test_it_may_take_a_batch_in_parts(tmp_path, monkeypatch):
    """But for the adaptive weight, which is a quotient and so no mean over parts."""
    monkeypatch.setattr("harness.training.loop.LOG_STEPS", 1)
    start = {"tokenizer__adversarial__start_step": 0, "tokenizer__adversarial__adaptive": False}
    asked = experiment("kl_vae", **SMALL | start)
    whole, parted = (
        curves(made(tmp_path / str(n), asked, execution=Execution(accumulate=n))["tokenizer"]) for n in (1, 2)
    )
    assert {name.removeprefix("train/") for name in whole} >= OF_GAN
    for name, values in whole.items():
        assert list(values) == list(parted[name])
        if 1 in values:  # later steps differ by what the optimiser makes of the rounding of the first
            assert values[1] == pytest.approx(parted[name][1], rel=1e-4, abs=1e-6), name
        assert list(values.values()) == pytest.approx(list(parted[name].values()), rel=0.05, abs=0.02), name


def test_fine_tuning_goes_on_with_the_discriminator(undisturbed):
    first = min(curves(undisturbed["finetuning"])["train/discriminator"])
    assert first <= 10  # its first logged step: the discriminator began in the training before


def test_it_may_read_pixels_and_resumes_to_the_bit(tmp_path):
    asked = experiment("kl_vae", **SMALL | {"tokenizer__adversarial__features": "patchgan"})
    whole = made(tmp_path / "whole", asked)
    stopped = made(tmp_path / "stopped", asked, lambda stage: {"tokenizer": START + 1}.get(stage, -1))
    for stage, run in whole.items():
        assert curves(stopped[stage]) == curves(run)
        assert {name.removeprefix("train/") for name in curves(run)} >= OF_GAN


def test_images_may_be_too_small_for_patches(tmp_path):
    with pytest.raises(Mistake, match="patchgan needs images of 32 px, not of 16"):
        Roles(experiment(data__image_size=16, **SMALL | {"tokenizer__adversarial__features": "patchgan"})).require()
