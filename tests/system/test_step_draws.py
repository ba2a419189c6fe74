"""Draws that are made together are those that are made one by one."""

from __future__ import annotations

import pytest
import torch

from harness.benchmarks.counting import counted
from harness.system import philox
from harness.system.randomness import WHOLE, Chosen, Draws, Part
from harness.system.step_draws import RecurringDraws, StepDraws

ASKED = [
    ("uniform", "flip", (8,)),
    ("normal", "noise", (8, 3, 5)),
    ("uniform", "ratio", ()),
    ("normal", "noise", (8, 2)),  # the name again, in another shape
    ("normal", "one", ()),
    ("uniform", "places", (8, 16)),
]


def ask(draws: Draws | StepDraws) -> list[torch.Tensor]:
    return [getattr(draws, law)(name, *shape) for law, name, shape in ASKED]


@pytest.mark.parametrize("by", ["_by_numpy", "_by_torch"])
@pytest.mark.parametrize(
    "part", [WHOLE, Part(1, 3), Chosen([2**40, 3, 0, 7, 6, 5, 2**62, 1])], ids=["all", "part", "chosen"]
)
def test_they_are_equal_to_the_bit(by, part, monkeypatch):
    monkeypatch.setattr(philox, "_by_numpy", getattr(philox, by))
    recurring = RecurringDraws(Draws(3, "tests", 0, part=part))
    for step in (0, 1, 7, 2**32 - 1, 1):
        expected = ask(Draws(3, "tests", step, part=part))
        found = ask(recurring.at(step))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), step


def test_any_step_may_ask_for_less_or_more():
    recurring, alone = RecurringDraws(Draws(0, "tests", 0)), lambda step: Draws(0, "tests", step)
    names = ["a"], ["a", "b"], ["b"], [], ["c", "a", "b"], ["c"]
    for step, asked in enumerate(names):
        draws = recurring.at(step)
        for name in asked:
            assert torch.equal(draws.normal(name, 4), alone(step).normal(name, 4))


def test_an_earlier_step_may_still_draw():
    recurring = RecurringDraws(Draws(0, "tests", 0))
    first, second = recurring.at(0), recurring.at(1)
    for draws, step in ((second, 1), (first, 0)):
        assert torch.equal(draws.normal("n", 4), Draws(0, "tests", step).normal("n", 4))


def test_all_draws_take_about_as_many_kernels_as_one(monkeypatch):
    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)
    recurring = RecurringDraws(Draws(0, "tests", 0))
    ask(recurring.at(0))
    ask(recurring.at(1))
    one = counted(lambda: Draws(0, "tests", 2).normal("noise", 8, 3, 5)).launches
    every = counted(lambda: ask(Draws(0, "tests", 2))).launches
    together = counted(lambda: ask(recurring.at(2)))
    assert together.waits == 0
    assert together.launches < 1.3 * one < every / 3
