"""No step of a training waits for the device, and a divergence is told all the same at the step where it happened."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from harness.benchmarks import works
from harness.benchmarks.counting import Counts, counted
from harness.data.rows import Rows
from harness.experiments.experiment import Experiment, Training
from harness.experiments.fields import with_fields
from harness.networks import random_weights
from harness.planning.stage import Diverged, Work
from harness.store.runs import Store
from harness.system import philox, plugins
from harness.training.divergence import Divergence
from harness.training.loop import Learner, Trained, _Loop
from models import generators
from models.flows.samplers import SAMPLERS
from models.variants import VARIANTS
from tests.conftest import MACHINE, experiment
from tests.stages.few_images import FEW, run

# Trainings


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws are made by torch, and data stays on the device, as on a GPU that it fits."""

    def keep(rows: Rows, array: np.ndarray, device: str) -> None:
        rows.array, rows.device, rows.kept = array, device, torch.from_numpy(np.array(array))

    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)
    monkeypatch.setattr(Rows, "__init__", keep)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The data, teacher features and latents are made once for all trainings."""
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def counts(as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counts]]:
    """The counts of the third step of every training, by stage; no more steps are made."""
    found: dict[str, Counts] = {}

    def train(work: Work, training: Training, learner: Learner) -> Trained:
        loop = _Loop(work, training, learner)
        for step in range(2):
            loop.step(step)
        with monkeypatch.context() as on_a_gpu:
            for method in ("numpy", "__array__"):  # which NumPy cannot read
                on_a_gpu.setattr(torch.Tensor, method, lambda *_: pytest.fail("NumPy cannot read a GPU"))
            found[work.run.folder.parent.name] = counted(lambda: loop.step(2))
        loop.check()
        if learner.snapshot is not None:
            learner.snapshot(training.steps, loop.ema)
        return Trained(loop.ema, {})

    monkeypatch.setattr("harness.training.loop.train", train)
    yield found


def of(variant: str, **fields: object) -> Experiment:
    return experiment(variant, **{**FEW, "finetuning__share": 1.0, **fields})


def no_step_waits(counts: dict[str, Counts], stages: set[str]) -> None:
    assert set(counts) == stages
    for stage, found in counts.items():
        assert found.waits == 0 and found.launches > 100, stage


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_tokenizer_waits(variant, stored, counts):
    run(stored, of(variant), "finetuning")
    no_step_waits(counts, {"tokenizer", "finetuning"})


def test_every_tokenizer_is_among_the_variants():
    names = {of(variant).tokenizer.name or "vit_1d" for variant in VARIANTS}
    assert names == set(plugins.names("models.tokenizers")) - {"outside"}  # which is not trained


@pytest.mark.parametrize("features", ["efficientnet_lite0", "patchgan"])
def test_no_step_with_a_discriminator_waits(features, stored, counts):
    on = {"tokenizer__adversarial__on": True, "tokenizer__adversarial__start_step": 0}
    run(stored, of("mactok", tokenizer__adversarial__features=features, **on), "finetuning")
    no_step_waits(counts, {"tokenizer", "finetuning"})


@pytest.mark.slow
def test_no_step_with_the_published_networks_waits(stored, counts, tmp_path):
    fields: dict[str, object] = {
        "teacher": "dinov2_vits14",
        "training__batch_images": 2,
        "tokenizer__perceptual__lpips": True,
        "tokenizer__adversarial__on": True,
        "tokenizer__adversarial__start_step": 0,
        "tokenizer__adversarial__features": "dino_vits16",
    }
    asked = of("mactok", **fields)
    with random_weights.written([asked], tmp_path / "weights"):
        run(stored, asked, "finetuning")
    no_step_waits(counts, {"tokenizer", "finetuning"})


FLOWS = {
    "logit-normal times, direction, REPA": {
        "generator__logit_normal": True,
        "generator__direction_weight": 1.0,
        "generator__repa__on": True,
    },
    "noise on the VP path": {"generator__path": "vp", "generator__target": "noise"},
    "score on the GVP path": {"generator__path": "gvp", "generator__target": "score"},
}


@pytest.mark.parametrize("name", plugins.names("models.generators"))
def test_no_generator_waits(name, stored, counts):
    run(stored, of("titok" if name in generators.CODED else "kl_vae", generator__name=name), "generator")
    no_step_waits({"generator": counts["generator"]}, {"generator"})


@pytest.mark.parametrize("law", FLOWS)
def test_no_flow_waits(law, stored, counts):
    run(stored, of("kl_vae", generator__repa__depth=1, **FLOWS[law]), "generator")
    no_step_waits({"generator": counts["generator"]}, {"generator"})


# Sampling


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "dopri5"])  # which asks whether all arrived
def test_no_step_of_a_sampler_waits(sampler, as_on_a_gpu):
    e = experiment("mactok", sampling__sampler=sampler, sampling__steps=4)
    few, many = (counted(works.WORKS["guided sampling"](of_steps(e, n), MACHINE).call) for n in (4, 8))
    assert few.waits == many.waits <= 1  # the places of images are sent once
    assert few.launches < many.launches


def of_steps(e: Experiment, steps: int) -> Experiment:
    return with_fields(e, {"sampling.steps": steps})


# How waiting is found

WAITING = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t.sum()),
    "int": lambda t: int(t.sum()),
    "truth": lambda t: bool(t.sum() > 0),
    "tolist": lambda t: t.tolist(),
    "cpu": lambda t: t.cpu(),
    "nonzero": lambda t: t.nonzero(),
    "mask": lambda t: t[t > 0],
    "equal": lambda t: torch.equal(t, t),
    "sent": lambda t: torch.tensor([1.0, 2.0], device=t.device),
    "sent to go with it": lambda t: t.new_tensor([1.0]),
    "index of Python": lambda t: t[[0, 1]],
    "set by mask": lambda t: t.index_put_((t > 0,), torch.zeros(())),
    "where": lambda t: torch.where(t > 0),
    "unique": lambda t: t.unique(),
    "format": lambda t: f"{t.sum():.2f}",
    "range": lambda t: range(t.long().sum()),
}


@pytest.mark.parametrize("name", WAITING)
def test_waits_are_seen(name):
    assert counted(lambda: WAITING[name](torch.ones(3))).waits >= 1
    assert counted(lambda: torch.ones(3).exp()).waits == 0


def test_waits_are_seen_in_the_backward_pass():
    class Reads(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * gradient.sum().item()

    x = torch.ones(3, requires_grad=True)
    assert counted(lambda: Reads.apply(x).sum().backward()).waits == 1


def test_launches_are_counted():
    assert counted(lambda: torch.ones(3).exp().view(1, 3).log()).launches == 3


@pytest.mark.parametrize("name", WAITING)
def test_a_step_that_waits_is_found(name, as_on_a_gpu):
    timed = works.WORKS["generator step"](experiment("mactok"), MACHINE)
    works.seconds(timed.call, 1)
    waits = counted(lambda: (timed.call(), WAITING[name](torch.ones(3)))).waits
    assert waits >= 1


def test_a_step_is_the_same_work_every_time(monkeypatch):
    """The operators of a step, their sizes and their constants do not change: a GPU can replay them."""
    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)
    timed = works.WORKS["generator step"](experiment("mactok"), MACHINE)
    works.seconds(timed.call, 3)
    assert len({counted(timed.call) for _ in range(4)}) == 1


# Divergence


def test_the_first_step_that_is_not_finite_is_told():
    for bad in (float("nan"), float("inf"), -float("inf")):
        divergence = Divergence("the loss", "cpu")
        for step in range(3):
            divergence.watch(step, torch.tensor(1.0))
        divergence.check()
        for step, value in zip(itertools.count(3), (1.0, bad, 2.0, bad), strict=False):
            divergence.watch(step, torch.tensor(value))
        with pytest.raises(Diverged, match="the loss is not finite at step 4"):
            divergence.check()
