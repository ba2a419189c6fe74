"""The judge of differences, equalities and levels, and what is left of latents at the end of a curve."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from harness.evaluation import collapse
from harness.experiments.claims import Level
from harness.experiments.published import published
from harness.experiments.study import Row
from reports.claims.judge import judge
from reports.claims.quantities import quantity
from reports.statistics import intervals
from tests.conftest import experiment
from tests.reports.claimed import (
    STEP,
    Given,
    apart,
    down,
    equal,
    given,
    pair,
    seeds_of,
)

# Difference


@pytest.mark.parametrize(
    ("differences", "less", "more"),
    [
        ((-3.0, -2.5, -3.5), "holds", "does not hold"),
        ((3.0, 2.5, 3.5), "does not hold", "holds"),
        ((-3.0, 0.5, 2.0), "undecided", "undecided"),
        ((-3.0,), "undecided", "undecided"),
        ((), "no data", "no data"),
    ],
)
def test_a_difference_holds_where_all_of_its_interval_does(differences, less, more):
    for claim, verdict in ((down(), less), (down(side=+1), more)):
        found = judge(claim, apart(differences), {})
        assert (found.verdict, found.n, found.claim) == (verdict, len(differences), claim)
        assert (found.p is None) == (len(differences) < 2)


def test_a_difference_is_students_paired_t():
    row, base = [101.0, 126.5, 88.0, 70.0], [103.0, 130.0, 90.0, 75.5]
    found = judge(down(), pair(row, base), {})
    test = stats.ttest_rel(row, base)
    low, high = test.confidence_interval(0.95)
    assert found.p == pytest.approx(test.pvalue)
    mean = np.mean(row) - np.mean(base)
    assert found.here == f"gFD {mean:+.1f} ± {(high - low) / 2:.1f} ({mean / np.mean(base):+.1%})"


def test_what_an_undecided_study_could_have_seen_is_told_and_of_others_not():
    differences = [-3.0, 0.5, 2.0]
    least = intervals.smallest_detectable(differences)
    assert f"; detectable: {least:.1f}" in judge(down(), apart(differences), {}).here
    assert "detectable" not in judge(down(), apart([-3.0, -2.5, -3.5]), {}).here
    assert "detectable" not in judge(down(), apart([-3.0]), {}).here


def test_seeds_are_paired_in_any_order_and_what_only_one_row_has_is_left_out():
    results = apart((-3.0, -2.5, -3.5))
    wanted = judge(down(), results, {})
    alone = [given("row", 7, gfd=1e6), given("base", 8, gfd=-1e6), given("other", 0, gfd=5.0)]
    no_number = [given("row", 9, gfd=math.nan), given("base", 9, gfd=1.0)]
    for others in (results[::-1], alone + results, no_number + results):
        assert judge(down(), others, {}) == wanted
    unpaired = [given("row", 0, gfd=1.0), given("base", 1, gfd=2.0)]
    assert judge(down(), unpaired, {}).verdict == "no data"


@pytest.mark.parametrize("name", ["gfd", "kid", "psnr", "probe"])
@pytest.mark.parametrize(("base", "row"), [(-4.0, -3.0), (4.0, 3.0), (-4.0, -5.0), (4.0, 5.0), (-1.0, 2.0)])
def test_percent_have_the_sign_of_the_difference(base, row, name):
    """Also of a quantity below 0, as KID may be."""
    found = judge(down(name), pair([row], [base], name), {})
    assert f"({(row - base) / abs(base):+.1%})" in found.here
    assert ("(+" in found.here) == (row > base)


def test_no_percent_of_nothing_and_none_of_derived_quantities():
    assert "%" not in judge(down(), pair([3.0], [0.0]), {}).here
    assert "%" not in judge(down("gfd_unguided"), pair([3.0], [4.0], "gfd_unguided"), {}).here


def test_the_difference_of_the_paper_is_of_the_published_rows():
    rows = [Row("row", "mactok", published="+ local alignment"), Row("base", "mactok", published="+ random mask")]
    paper = published("5")
    effects = {"gfd": "-2.48 (-41.3%)", "classifier_score": "+7.1 (+3.0%)", "rfd": "-0.14 (-24.1%)"}
    for name, effect in effects.items():
        for results in ([given(row, 0) for row in rows], [given(row, 0, **{name: 2.0}) for row in rows]):
            assert judge(down(name), results, paper).paper == effect
    assert judge(down("probe"), [given(row, 0, probe=2.0) for row in rows], paper).paper == "–"
    assert judge(down(), apart((1.0, 2.0)), paper).paper == "–"


def test_without_data_it_says_what_is_missing():
    assert "no row 'base'" in judge(down(), seeds_of("row", "gfd", [1.0]), {}).here
    assert judge(down(), [given("row", 0), given("base", 0)], {}).here == "did not run"


# AlmostEqual


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((1.0, -1.0, 2.0), "holds"),
        ((-2.0, -2.5, -2.2), "holds"),  # different from 0, and yet less than the margin
        ((20.0, 21.0, 19.0), "does not hold"),
        ((-20.0, -21.0, -19.0), "does not hold"),
        ((9.0, 13.0, 10.0), "undecided"),
        ((-30.0, 0.0, 30.0), "undecided"),
        ((0.5,), "undecided"),
        ((), "no data"),
    ],
)
def test_almost_equal_is_within_the_margin_either_way(differences, verdict):
    results = apart(differences, "rfd")  # the margin is a tenth of about 107
    found = judge(equal(), results, {})
    assert (found.verdict, found.n, found.p) == (verdict, len(differences), None)
    if differences:
        assert found.here.endswith("; margin 10.0%: it is a tenth")


def test_the_margin_is_of_the_mean_of_the_other_row():
    differences = (4.0, 4.5, 5.0)
    assert judge(equal(0.1), apart(differences, "rfd"), {}).verdict == "holds"
    assert judge(equal(0.02), apart(differences, "rfd"), {}).verdict == "does not hold"
    row, base = [110.4, 110.5, 110.6], [100.0, 100.0, 100.0]  # more than a tenth of the other, less than one of its own
    assert judge(equal(0.1), pair(row, base, "rfd"), {}).verdict == "does not hold"
    assert judge(equal(), pair([0.1, -0.1], [0.0, 0.0], "rfd"), {}).verdict == "undecided"  # no share of nothing


# Level


@pytest.mark.parametrize(
    ("values", "above", "below"),
    [
        ((11.0, 11.2, 10.9), "holds", "does not hold"),
        ((9.0, 9.2, 8.9), "does not hold", "holds"),
        ((9.0, 11.0, 10.5), "undecided", "undecided"),
        ((99.0,), "undecided", "undecided"),
        ((), "no data", "no data"),
    ],
)
def test_a_level_is_on_one_side_of_its_threshold(values, above, below):
    for side, verdict in ((+1, above), (-1, below)):
        claim = Level("enough", "Fig. 1", "probe", "row", 10.0, side)
        found = judge(claim, seeds_of("row", "probe", values) + seeds_of("base", "probe", [50.0, 51.0]), {})
        assert (found.verdict, found.n) == (verdict, len(values))
        if values:
            assert f"claimed {'>' if side > 0 else '<'} 10" in found.here
            assert f"{np.mean(values):.1f}" in found.here
        if len(values) > 1:
            assert found.p == pytest.approx(stats.ttest_1samp(values, 10.0).pvalue)


@pytest.mark.parametrize("of", ["kl", "units"])
def test_a_collapse_is_judged_on_curves_that_have_ended(of):
    claim = Level("collapses", "Fig. 1", f"{of}_kept", "row", collapse.COLLAPSED_SHARE, side=-1)
    collapsed = [given("row", seed, [0.0, 20.0, 0.1 * (seed + 1)], active=0.01 * (seed + 1)) for seed in range(3)]
    assert judge(claim, collapsed, {}).verdict == "holds"
    running = [dataclasses.replace(r, finished=False) for r in collapsed]
    assert judge(claim, running, {}).verdict == "no data"
    assert quantity(running[0], f"{of}_lost_at") is None
    assert judge(claim, [*collapsed[:2], running[2]], {}).n == 2


def test_what_is_left_of_kl_and_of_active_units():
    """Units count from 0 on, as those that an initialisation has say nothing."""
    found = given("row", 0, [0.0, 20.0, 5.0], active=0.4)
    assert [quantity(found, f"{of}_kept") for of in ("kl", "units")] == [0.25, pytest.approx(0.4)]
    found = given("row", 0, [9.0, 9.5, 9.0], active=0.0)  # KL never rose, units were active from the first step on
    assert [quantity(found, f"{of}_lost_at") for of in ("kl", "units")] == [0, 2 * STEP]
    few = Given(Row("row", "mactok"), experiment("mactok"), {}, training={"val/active_units": [0.3, 0.5, 0.2]})
    assert [quantity(few, name) for name in ("units_kept", "units_lost_at")] == [pytest.approx(0.4), 2 * STEP]
    idle = Given(Row("row", "mactok"), experiment("mactok"), {}, training={"val/active_units": [0.0, 0.04, 0.04]})
    assert [quantity(idle, name) for name in ("units_kept", "units_lost_at")] == [0.0, 0.0]  # too few ever were active
    assert [quantity(idle, name) for name in ("kl_kept", "kl_lost_at")] == [None, None]


@pytest.mark.parametrize("of", ["kl", "units"])
def test_latents_that_are_never_lost_count_as_lost_at_the_end(of):
    def lost_at(*curve: float) -> float | None:
        training = {{"kl": "val/kl", "units": "val/active_units"}[of]: curve}
        return quantity(Given(Row("row", "mactok"), experiment("mactok"), {}, training=training), f"{of}_lost_at")

    assert lost_at(0.0, 1.0, 0.0, 0.0, 0.0) == 2 * STEP
    assert lost_at(0.0, 1.0, 1.0, 0.95, 0.9) == 4 * STEP
    assert quantity(given("row", 0), f"{of}_lost_at") is None
    assert quantity(given("row", 0), f"{of}_kept") is None


@pytest.mark.parametrize("on", [True, False])
def test_quantities_of_generation_are_guided_where_the_study_guides(on):
    found = given("row", 0, of=experiment("mactok", guidance__on=on), gfd=1.0, gfd_unguided=2.0, rfd=3.0)
    assert quantity(found, "gfd") == (1.0 if on else 2.0)
    assert quantity(found, "gfd_unguided") == 2.0
    assert quantity(found, "rfd") == 3.0
    for missing in (given("row", 0), given("row", 0, gfd=math.nan, gfd_unguided=math.inf, rfd=-math.inf)):
        assert [quantity(missing, name) for name in ("gfd", "gfd_unguided", "rfd")] == [None] * 3


# What is left of the latents


@pytest.mark.parametrize(
    ("curve", "left"),
    [
        ([0.0, 20.0, 20.0], 1.0),
        ([0.0, 20.0, 5.0], 0.25),
        ([5.0, 25.0, 10.0], 0.25),  # of the rise, not of all
        ([5.0, 25.0, 1.0], 0.0),  # below where it began
        ([0.0, 20.0, 0.5, 15.0], 0.75),  # back from a collapse
        ([0.0, 20.0, 0.5, 25.0], 1.0),
        ([30.0, 12.0, 0.1], 0.0),  # never rose
        ([30.0, 0.0, 20.0, 10.0], 0.5),  # what it has at first is no rise
        ([0.0, 0.999], 0.0),
        ([0.0, 1.0], 1.0),  # border of the rise
        ([7.0], 0.0),
    ],
)
def test_kept_is_the_share_of_the_rise_that_is_left(curve, left):
    assert collapse.kept(curve, 1.0) == pytest.approx(left)
    assert collapse.kept([value / 100 for value in curve], 0.01) == pytest.approx(left)


def walks(number: int) -> list[list[float]]:
    """Curves of KL of all kinds."""
    rng = np.random.default_rng(0)
    of_steps = rng.normal(size=(number, 30)) * rng.uniform(0.1, 5, size=(number, 1))
    return [list(np.abs(np.cumsum(steps))) for steps in of_steps]


def test_kept_is_a_share_that_agrees_with_the_status():
    seen = set()
    for kl, share in zip(walks(400), np.random.default_rng(1).uniform(0.01, 1, 400), strict=True):
        left, status = collapse.kept(kl, collapse.RISE_NATS), collapse.status(kl, [share])
        seen.add(status)
        assert 0 <= left <= 1
        assert (left < collapse.COLLAPSED_SHARE) == (status in ("collapsed", "never active"))
        assert (left >= collapse.PARTLY_SHARE and share >= collapse.PARTLY_SHARE) == (status == "active")
    assert seen == {"active", "partly", "collapsed", "never active"}


@pytest.mark.parametrize(
    ("kl", "lost"),
    [
        ([0.0, 20.0, 20.0, 20.0], None),
        ([0.0, 20.0, 10.0, 10.0], None),  # border: half of the rise
        ([0.0, 20.0, 9.9, 5.0], 20),
        ([0.0, 20.0, 12.0, 5.0], 30),
        ([0.0, 20.0, 5.0, 15.0], None),  # recovered
        ([0.0, 20.0, 5.0, 15.0, 5.0, 1.0], 40),  # for good only the second time
        ([30.0, 12.0, 0.1], 0),  # never rose: lost from the first step on
        ([0.0, 0.9, 0.0], 0),
        ([5.0, 25.0, 16.0, 14.0], 30),  # of the rise, not of KL
        ([30.0, 0.0, 20.0, 1.0], 30),  # not what it has at first
        ([7.0], 0),
    ],
)
def test_lost_at_is_where_half_of_the_rise_is_gone_for_good(kl, lost):
    assert collapse.lost_at([10 * k for k in range(len(kl))], kl, 1.0) == lost


def test_latents_are_lost_where_less_than_half_is_left_at_the_end():
    for kl in walks(300):
        lost = collapse.lost_at(list(range(len(kl))), kl, 1.0)
        assert (lost is None) == (collapse.kept(kl, 1.0) >= collapse.PARTLY_SHARE)
        if lost is not None:
            assert collapse.kept(kl[: lost + 1], 1.0) < collapse.PARTLY_SHARE


@pytest.mark.parametrize("spacing", [1, 2, 5, 10, 20])
def test_what_is_lost_does_not_depend_on_how_finely_a_curve_is_sampled(spacing):
    steps = list(range(0, 201, spacing))
    knots = {"recovers": [0, 20, 4, 16, 2], "collapses": [10, 30, 30, 12, 11], "stays": [0, 20, 15, 18, 16]}
    exact = {"recovers": 150 + 50 * 6 / 14, "collapses": 100 + 50 * 10 / 18, "stays": None}
    for name, values in knots.items():
        kl = np.interp(steps, range(0, 201, 50), values).tolist()
        left = collapse.kept(np.interp(range(201), range(0, 201, 50), values).tolist(), 1.0)
        found = collapse.lost_at(steps, kl, 1.0)
        if spacing != 20:  # which leaves out the knots
            assert collapse.kept(kl, 1.0) == pytest.approx(left)
        if exact[name] is None:
            assert found is None
        else:
            assert exact[name] <= found < exact[name] + spacing + 5
