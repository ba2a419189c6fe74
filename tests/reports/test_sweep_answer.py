"""What a sweep says about the range in which latents are active."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.experiments.axis import Axis
from reports.results import Result
from reports.sweep.answer import Answer
from reports.sweep.points import TriedPoint
from reports.tables import statuses

WEIGHTS = (0.0001, 0.001, 0.01, 0.1)


def given(statuses: Sequence[str], seeds: int) -> list[Result]:
    found = [SimpleNamespace(status=s, experiment=SimpleNamespace(seed=k)) for k, s in enumerate(statuses)]
    assert len(found) == seeds
    return cast(list[Result], found)


def answer(last_active: Sequence[int]) -> tuple[Answer, list[TriedPoint]]:
    """The answer over `WEIGHTS` if seed k is active up to place `last_active[k]`, and collapsed beyond it."""
    axis = Axis("tokenizer.gaussian.kl_weight", "KL weight", grid=WEIGHTS, low=1e-5, high=1.0, log=True)
    points: list[Any] = []
    for place, weight in enumerate(WEIGHTS):
        states = ["active" if place <= last else "collapsed" for last in last_active]
        points.append(SimpleNamespace(coordinate=weight, results=given(states, len(last_active))))
    request = SimpleNamespace(seeds=len(last_active))
    return Answer(cast(Any, SimpleNamespace(axes=[axis], request=request, by_row={"KL-VAE": points}))), points


@pytest.mark.parametrize(
    ("last_active", "width"),
    [
        ((1,), "a factor of 10"),
        ((3,), "a factor of 1,000, to the end of the grid"),
        ((-1, -1), "none"),
        ((1, 1, 1), "a factor of 10 [10, 10]"),
        ((1, 2, 1), "a factor of 21.5 [1, 586]"),  # 10 ** (4/3 ± 4.303 / 3), and not below 1
        ((2, 3, 3), "a factor of 464 [17.1, 1,000], to the end of the grid"),  # no wider than the grid
    ],
)
def test_the_width_of_the_range_is_a_factor_with_its_interval(last_active, width):
    found, points = answer(last_active)
    assert found._width(points) == width


def test_seeds_that_disagree_are_counted():
    assert answer((1, 1, 1))[0].range_of("KL-VAE", answer((1, 1, 1))[1]) == (
        "**KL-VAE**, by KL weight: active at 0.0001, 0.001; collapsed at 0.01, 0.1."
    )
    found, points = answer((1, 2, 1))
    assert found.range_of("KL-VAE", points) == (
        "**KL-VAE**, by KL weight: active at 0.0001, 0.001; collapsed at 0.01 (2 of 3 seeds), 0.1."
    )
    assert "0.01 (1 of 3 seeds)" in found.ranges()
    assert statuses(points[1].results) == "active"
    assert statuses(points[2].results) == "collapsed (2), active (1)"
