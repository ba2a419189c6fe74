"""What each row changes against its base: the numbers, their marks, and what so many seeds could have seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.records import digits_of, heading
from harness.experiments.study import Row
from reports.ablation.differences import LEGEND, Differences
from reports.statistics import intervals, model, power
from tests.reports.claimed import Given, given, merged, place, seeds_of
from tests.reports.test_report import table

METRICS = ("gfd", "psnr")
BASE = Row("base", "image_masking")
ONE, OTHER = Row("+ one", "mactok", base="base"), Row("+ other", "mactok", base="+ one")
ROWS = (BASE, ONE, OTHER)
MARKS = {0: "", 1: r" \*", 2: r" \*\*"}
Values = Mapping[Row, Mapping[str, Sequence[float]]]


def of(values: Values, metrics: Sequence[str] = METRICS) -> Differences:
    """Of rows with these values, one a seed."""
    results = [r for row, found in values.items() for name, seeds in found.items() for r in seeds_of(row, name, seeds)]
    return differences(merged(results), metrics)


def differences(results: Sequence[Given], metrics: Sequence[str] = METRICS) -> Differences:
    where = [(metric, split, stage) for metric in metrics for stage, split, _ in [place(metric)]]
    return Differences(results, where)


def cells(markdown: str) -> list[dict[str, str]]:
    return table(f"## here\n{markdown}", "here")


def drawn(seed: int, seeds: int = 3) -> dict[Row, dict[str, list[float]]]:
    """Rows whose seeds differ more than the rows do, with effects of all sizes."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 20, seeds)
    effects = rng.choice([0.0, 1.0, 30.0], size=(3, len(METRICS)))
    return {
        row: {m: list(100 + noise + effects[k, i] + rng.normal(0, 0.5, seeds)) for i, m in enumerate(METRICS)}
        for k, row in enumerate(ROWS)
    }


PAIRS = ((ONE, BASE), (OTHER, ONE), (OTHER, BASE))  # the last one has all parts at once


def by_hand(values: Values) -> dict[tuple[str, str, str], np.ndarray]:
    """Row minus base by both and metric, a value a seed."""
    return {
        (row.name, base.name, m): np.array(values[row][m]) - np.array(values[base][m])
        for row, base in PAIRS
        for m in METRICS
    }


def marked(p: float, of_all: Sequence[float]) -> str:
    """By the step-down procedure itself: the least p value against 5 % of all, the next against 5 % of the rest."""
    rejected = 0
    for k, other in enumerate(sorted(of_all)):
        if other > 0.05 / (len(of_all) - k):
            break
        rejected += p == other
    return MARKS[(p <= 0.05) + rejected]


def effects(values: Values) -> dict[tuple[str, str, str], model.Effect]:
    """By row, base and metric, with the noise of all rows."""
    return {
        (row.name, base.name, m): model.difference(
            {r.name: dict(enumerate(of_row[m])) for r, of_row in values.items()},
            row.name,
            base.name,
            10.0 ** -digits_of(m),
        )
        for row, base in PAIRS
        for m in METRICS
    }


def test_numbers_and_marks_are_those_of_the_model_and_holm():
    seen = set()
    for seed in range(25):
        values = drawn(seed)
        found = effects(values)
        lines = {(line["row"], line["minus"]): line for line in cells(of(values).table())}
        assert list(lines) == [(row.name, base.name) for row, base in PAIRS]
        p_values = {place: 2 * stats.t.sf(abs(e.estimate) / e.error, e.freedom) for place, e in found.items()}
        for (row, base, metric), apart in by_hand(values).items():
            effect, places = found[row, base, metric], digits_of(metric)
            half = stats.t.ppf(0.975, effect.freedom) * effect.error
            mark = marked(p_values[row, base, metric], list(p_values.values()))
            seen.add(mark)
            assert lines[row, base][heading(metric)] == f"{apart.mean():+z.{places}f} ± {half:.{places}f}{mark}"
    assert seen == set(MARKS.values())


def test_columns_are_headed_like_those_of_other_tables_in_the_order_asked_for():
    for metrics in (METRICS, METRICS[::-1]):
        (line, *_) = cells(of(drawn(0), metrics).table())
        assert list(line) == ["row", "minus", *map(heading, metrics)]


def test_the_legend_tells_the_marks():
    for mark in (r"\*:", r"\*\*:", "Holm", "95 % t interval"):
        assert mark in LEGEND


def test_the_pairing_tells_what_the_means_alone_would_not():
    values = {BASE: {"gfd": [10.0, 100.0, 1000.0]}, ONE: {"gfd": [11.0, 101.5, 1002.0]}}
    (line,) = cells(of(values, ["gfd"]).table())
    assert line[heading("gfd")] == r"+1.5 ± 1.2 \*\*"
    results = merged([r for row, found in values.items() for r in seeds_of(row, "gfd", found["gfd"])])
    assert differences(results[::-1], ["gfd"]).table() == of(values, ["gfd"]).table()


def test_rows_without_their_base_are_left_out():
    values = drawn(0)
    assert of(values).pairs == [("+ one", "base"), ("+ other", "+ one"), ("+ other", "base")]
    del values[ONE]
    assert of(values).table() == of(values).detectable_table() == ""
    assert of({}).table() == ""
    alone = {ONE: drawn(0)[ONE], OTHER: drawn(0)[OTHER]}
    assert [line["row"] for line in cells(of(alone).table())] == ["+ other"]


def test_a_family_is_what_the_table_shows():
    """Beside others a difference has to be surer than alone."""
    apart = [3.0, 4.5, 2.2]
    assert 0.025 < stats.ttest_1samp(apart, 0).pvalue < 0.05
    base = {"gfd": [100.0, 200.0, 300.0], "psnr": [20.0, 21.0, 22.0]}
    values = {BASE: base, ONE: {"gfd": list(np.add(base["gfd"], apart)), "psnr": [20.0, 20.0, 23.0]}}
    for metrics, mark in ((["gfd"], MARKS[2]), (METRICS, MARKS[1])):
        (line,) = cells(of(values, metrics).table())
        assert line[heading("gfd")] == f"+3.2 ± 2.9{mark}"


def test_seeds_that_are_missing_are_told():
    values = {BASE: {"gfd": [100.0, 200.0]}, ONE: {"gfd": [103.0, 203.5, 304.0], "psnr": [20.0, 21.0, 22.0]}}
    (line,) = cells(of(values).table())
    half = intervals.half_width([3.0, 3.5])
    assert line[heading("gfd")] == rf"+3.2 ± {half:.1f} \*\* (2 of 3 seeds)"
    assert line[heading("psnr")] == "–"
    (line,) = cells(of({BASE: {"gfd": [100.0]}, ONE: {"gfd": [103.0, 203.5]}}, ["gfd"]).table())
    assert line[heading("gfd")] == "+3.0 (1 of 2 seeds)"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_missing(wrong):
    values = {BASE: {"gfd": [100.0, 200.0, 300.0]}, ONE: {"gfd": [103.0, wrong, 304.0]}}
    (line,) = cells(of(values, ["gfd"]).table())
    assert line[heading("gfd")].endswith("(2 of 3 seeds)")
    assert line[heading("gfd")].startswith("+3.5")


def test_what_is_detectable_stands_at_the_same_place():
    for seed in range(5):
        values = drawn(seed, seeds=4)
        found = of(values)
        lines = {(line["row"], line["minus"]): line for line in cells(found.detectable_table())}
        assert list(lines) == [(row.name, base.name) for row, base in PAIRS]
        for (row, base, metric), e in effects(values).items():
            least = power.detectable(e.deviation, e.n, e.freedom, 0.05 / 6)  # the first of six tests by Holm
            assert lines[row, base][heading(metric)] == f"{least:.{digits_of(metric)}f}"


def test_seeds_that_do_not_differ_are_known_to_the_last_decimal():
    """What is told to a tenth is no better known: so equal differences are no proof, and no mystery."""
    values = {BASE: {"gfd": [100.0, 200.0, 300.0]}, ONE: {"gfd": [103.0, 203.0, 303.0]}}
    (line,) = cells(of(values, ["gfd"]).table())
    half = stats.t.ppf(0.975, 2) * 0.1 / 6**0.5 / 3**0.5
    assert line[heading("gfd")] == rf"+3.0 ± {half:.1f} \*\*"
    (line,) = cells(of(values, ["gfd"]).detectable_table())
    assert line[heading("gfd")] == f"{power.detectable(0.1 / 6**0.5, 3, 2):.1f}"


def test_one_seed_has_no_marks_and_nothing_detectable():
    values = {row: {m: seeds[:1] for m, seeds in found.items()} for row, found in drawn(0).items()}
    found = of(values)
    assert set(found.marks.values()) == {" "}
    for line in cells(found.table()):
        for metric in METRICS:
            (apart,) = by_hand(values)[line["row"], line["minus"], metric]
            assert line[heading(metric)] == f"{apart:+.{digits_of(metric)}f}"
    assert found.detectable_table() == ""


def test_rows_that_did_not_run_have_dashes():
    results = [given(row, seed) for row in ROWS for seed in range(2)]
    found = differences(results)
    assert [line[heading(metric)] for line in cells(found.table()) for metric in METRICS] == ["–"] * 6
    assert found.detectable_table() == ""
