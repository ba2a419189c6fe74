"""No step of a training waits for the device, and a divergence is told all the same at the step where it happened."""

from __future__ import annotations

import itertools

import pytest
import torch

from harness.benchmarks import works
from harness.benchmarks.counting import counted
from harness.planning.stage import Diverged
from harness.system import philox
from harness.training.divergence import Divergence
from models.variants import VARIANTS
from tests.conftest import MACHINE, experiment

STEPS = [name for name in works.WORKS if "step" in name]


@pytest.mark.parametrize("work", STEPS)
def test_no_step_waits(work, monkeypatch):
    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)  # as on a GPU
    timed = works.WORKS[work](experiment("mactok"), MACHINE)
    works.seconds(timed.call, 2)
    counts = counted(timed.call)
    assert counts.waits == 0
    assert counts.launches > 100


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_waits(variant, monkeypatch):
    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)
    timed = works.WORKS["tokenizer step"](experiment(variant), MACHINE)
    works.seconds(timed.call, 1)
    assert counted(timed.call).waits == 0


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
