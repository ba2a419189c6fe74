"""Rows whose lines lie on each other in a panel get a panel of their differences."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from harness.experiments.study import Row
from harness.store.runs import Run
from reports.ablation import curves
from tests.reports.claimed import given

STEPS = [0, 10, 20, 30]
TITLE = "squared error"


def differences(**rows: list[list[float]]) -> dict[str, dict[str, list[list[float]]]]:
    """The panels of differences of rows with these curves, one for each seed, as values by row and seed."""
    results = {
        name: [
            SimpleNamespace(row=SimpleNamespace(name=name), experiment=SimpleNamespace(seed=seed), values=values)
            for seed, values in enumerate(seeds)
        ]
        for name, seeds in rows.items()
    }

    def of(r: SimpleNamespace) -> pd.Series:
        return pd.Series(dict(zip(STEPS, r.values, strict=False)), dtype=float)

    panels = curves._differences(results, TITLE, of)
    return {
        title.removeprefix(f"{TITLE},\nminus that of "): {
            name: found for name, seeds in results.items() if any(found := [list(panel(r)) for r in seeds])
        }
        for title, panel in panels
    }


FALL = [1.0, 0.5, 0.2, 0.1]
HIGH = [1.0, 0.9, 0.8, 0.7]


def plus(curve: list[float], *by: float) -> list[float]:
    return [value + by[step % len(by)] for step, value in enumerate(curve)]


def test_rows_that_lie_on_each_other_are_drawn_minus_the_first_seed_by_seed():
    seeds = [FALL, plus(FALL, 0.03)]
    found = differences(a=seeds, apart=[HIGH, HIGH], b=[plus(seeds[0], 0.01), plus(seeds[1], -0.005)])
    assert set(found) == {'"a"'} and set(found['"a"']) == {"a", "b"}
    assert found['"a"']["a"] == [[0.0] * 4] * 2
    for values, expected in zip(found['"a"']["b"], (0.01, -0.005), strict=True):
        assert values == pytest.approx([expected] * 4)


def test_every_group_of_rows_that_lie_on_each_other_has_a_panel_of_its_own():
    found = differences(
        a=[FALL], b=[plus(HIGH, 0.001)], c=[plus(FALL, 0.5)], d=[HIGH], e=[plus(FALL, 0.01)], f=[plus(FALL, 0.02)]
    )
    assert {title: set(rows) for title, rows in found.items()} == {'"b"': {"b", "d"}, '"a"': {"a", "e", "f"}}


def test_a_row_without_a_curve_is_in_no_group():
    found = differences(a=[[]], b=[FALL], c=[plus(FALL, 0.001)])
    assert {title: set(rows) for title, rows in found.items()} == {'"b"': {"b", "c"}}


def test_rows_that_are_apart_for_less_than_half_of_the_training_have_one():
    assert set(differences(a=[FALL], b=[plus(FALL, 0.5, 0.001, 0, 0)])) == {'"a"'}


@pytest.mark.parametrize(
    "rows",
    [
        {"a": [FALL], "b": [plus(FALL, 0, 0.05, 0.05, 0.05)]},  # apart over more than half
        {"a": [FALL], "b": [FALL], "c": [HIGH]},  # equal: there is nothing to see
        {"a": [FALL]},
        {"a": [FALL], "nothing yet": [[]]},
    ],
)
def test_other_rows_have_none(rows):
    assert not differences(**rows)


def test_a_row_that_has_come_less_far_is_compared_as_far_as_it_came():
    found = differences(a=[FALL], b=[plus(FALL, 0.01)[:3]])
    assert [value for value in found['"a"']["b"][0] if value == value] == pytest.approx([0.01] * 3)
    assert not differences(a=[FALL], b=[plus(FALL, 0.01)[:2]])  # half of the way is not most of it


@pytest.mark.parametrize("first", ["measured", "not measured"])
def test_rows_with_one_generator_and_decoders_of_their_own_are_drawn_each(first, tmp_path, monkeypatch):
    """A fine-tuned row has the generator of the other one, but other images: their measures may come one by one."""
    drawn: list[str] = []
    monkeypatch.setattr(curves, "draw_seeds", lambda axis, of, style, name: drawn.append(name) or True)
    rows = [
        given(Row(name, "mactok"), 0, gfds={0: 9.0, 10: gfd} if first == "measured" or name == "tuned" else {})
        for name, gfd in (("plain", 5.0), ("tuned", 4.0))
    ]
    for r in rows:
        of_row = Path("generator_snapshots", r.row.name)
        r.runs.update(generator=Run(Path("generator/0")), generator_snapshots=Run(of_row))
    assert curves.generator_curves(rows, tmp_path / "generator.png")
    assert set(drawn) == {"plain", "tuned"}
