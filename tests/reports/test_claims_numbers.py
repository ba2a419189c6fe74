"""The judge of differences, equalities and levels, and what is left of latents at the end of a curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.evaluation import collapse
from harness.experiments.claims import Level
from harness.experiments.published import published
from harness.experiments.study import Row
from harness.store.runs import Run
from reports.claims.judge import judge
from reports.claims.quantities import quantity
from reports.claims.table import lines
from reports.claims.verdicts import judge_all
from reports.statistics import power
from tests.conftest import experiment
from tests.reports.claimed import (
    NOISY,
    STEP,
    Given,
    apart,
    down,
    equal,
    given,
    measured,
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
    least = power.detectable(float(np.std(differences, ddof=1)), 3, 2)
    assert f"; detectable: {least:.1f} [" in here(differences)
    assert "detectable" not in here([-3.0, -2.5, -3.5])
    assert "detectable" not in here([-3.0])


def test_rows_that_share_a_tokenizer_have_the_noise_of_their_own():
    """Others have more: their tokenizers differ too."""
    results = [*apart((-3.0, -2.5, -3.5)), *seeds_of(Row("other", "mactok"), "gfd", [10.0, 500.0, 90.0])]
    before = judge(down(), results, {})
    for r in results:
        name = "shared" if r.row.name in ("row", "base") else "own"
        r.runs["tokenizer"] = Run(Path("tokenizer") / f"{name}{r.experiment.seed}")
    found = judge(down(), results, {})
    assert before.effect.freedom > 2 and before.effect.deviation > 10 * found.effect.deviation
    assert (found.effect, found.verdict) == (judge(down(), results[:6], {}).effect, "holds")
    results[0].runs["tokenizer"] = Run(Path("tokenizer") / "another")
    assert judge(down(), results, {}) == before


def test_no_difference_and_no_interval_goes_beyond_what_is_possible():
    """Shares in percent differ by at most 100."""
    found = lines(judge_all([down("probe")], apart((-60.0, 30.0, -90.0), "probe"), {}))[0]["here"]
    assert found.startswith("probe -40.0 [-100.0, 100.0]")
    assert "; detectable: none that is possible" in found


def test_a_claim_of_almost_no_change_seeks_no_effect():
    (found,) = judge_all([equal()], apart((-30.0, 0.0, 30.0), "rfd"), {})
    assert (found.verdict, found.detectable, found.seeds_needed, found.power) == ("undecided", "", None, None)


def here(differences: Sequence[float]) -> str:
    """What the table tells of two rows that differ by so much."""
    return lines(judge_all([down()], apart(differences), {}))[0]["here"]


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
    assert judge(down(), [given("row", 0), given("base", 0)], {}).here == "no seed has results of both rows"


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
    assert (found.verdict, found.n, found.p is None) == (verdict, len(differences), len(differences) < 2)
    if differences:
        assert "; margin 10.0%: it is a tenth" in found.here
        assert ("the interval is wider than the margin" in found.here) == (differences == (-30.0, 0.0, 30.0))
    if len(differences) > 1:
        base = list(NOISY[: len(differences)])
        row, margin = [b + d for b, d in zip(base, differences, strict=True)], 0.1 * float(np.mean(base))
        within = max(
            stats.ttest_1samp(np.subtract(row, base), bound, alternative=side).pvalue
            for side, bound in (("less", margin), ("greater", -margin))
        )
        beyond = min(
            stats.ttest_1samp(np.subtract(row, base), bound, alternative=side).pvalue
            for side, bound in (("greater", margin), ("less", -margin))
        )
        assert found.p == pytest.approx(min(1.0, 2 * min(within, beyond)))


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
        found = judge(claim, seeds_of("row", "probe", values) + seeds_of("base", "probe", [50.0]), {})
        assert (found.verdict, found.n) == (verdict, len(values))
        if values:
            beyond = sum(side * (value - 10) > 0 for value in values)
            met = f"met by {beyond or 'none'} of {len(values)} seeds"
            met = met if len(values) > 1 else f"{'' if beyond else 'not '}met by the only seed"
            told = f"claimed {'>' if side > 0 else '<'} 10, {met}"
            assert found.here.endswith(told)
            assert f"{np.mean(values):.1f}" in found.here
        if len(values) > 1:
            assert found.p == pytest.approx(stats.ttest_1samp(values, 10.0).pvalue)


KEPT, LOST_AT, SHARE = "information_kept", "information_lost_at", "information_share"


@pytest.mark.parametrize("of", ["KL", "use"])
def test_a_collapse_is_judged_on_curves_that_have_ended(of):
    """Latents collapse where KL goes, and where the decoder does without them."""
    claim = Level("collapses", "Fig. 1", KEPT, "row", collapse.COLLAPSED_SHARE, side=-1)
    ends = [0.005 * (seed + 1) for seed in range(3)]
    collapsed = [
        given("row", seed, [0.0, 20.0, 20 * end if of == "KL" else 20.0], [0.0, 1.0, 1.0 if of == "KL" else end])
        for seed, end in enumerate(ends)
    ]
    assert [quantity(r, KEPT) for r in collapsed] == pytest.approx(ends)
    assert judge(claim, collapsed, {}).verdict == "holds"
    running = [dataclasses.replace(r, finished=False) for r in collapsed]
    assert judge(claim, running, {}).verdict == "no data"
    assert quantity(running[0], LOST_AT) is None
    assert judge(claim, [*collapsed[:2], running[2]], {}).n == 2


@pytest.mark.parametrize(
    ("kl", "used", "kept", "lost_at"),
    [
        ((0.0, 20.0, 5.0), (0.0, 1.0, 1.0), 0.25, 2),
        ((0.0, 20.0, 20.0), (0.0, 1.0, 0.4), 0.4, 2),
        ((0.0, 20.0, 5.0), (0.0, 1.0, 0.4), 0.1, 2),  # both shares
        ((0.0, 20.0, 10.0), (0.0, 1.0, 0.2), 0.1, 2),
        ((0.0, 20.0, 10.0), (0.0, 1.0, 1.0), 0.5, 2),  # never lost: at the end
        ((0.0, 20.0, 5.0, 4.0), (0.0, 1.0, 1.0, 1.0), 0.2, 2),
        ((9.0, 9.5, 9.0), (0.0, 0.009, 0.009), 0.0, 0),  # KL that no decoder uses: from the first step
        ((0.0, 0.9, 0.9), (0.0, 1.0, 1.0), 0.0, 0),  # less than a nat
        ((300.0, 20.0, 20.0), (0.0, 1.0, 1.0), 1.0, 2),  # what KL was before the decoder used it says nothing
    ],
)
def test_information_is_kl_that_the_decoder_uses(kl, used, kept, lost_at):
    found = given("row", 0, kl, used)
    assert quantity(found, KEPT) == pytest.approx(kept)
    assert quantity(found, LOST_AT) == lost_at * STEP


def curves_of(**training: Sequence[float]) -> Given:
    named = {f"val/{name}": curve for name, curve in training.items()}
    return Given(Row("row", "mactok"), experiment("mactok"), {}, training=named)


def test_without_both_curves_nothing_is_known_of_information():
    for found in (given("row", 0), curves_of(kl=[0.0, 20.0]), curves_of(shuffled_error=[0.0, 1.0])):
        assert [quantity(found, name) for name in (KEPT, LOST_AT)] == [None, None]


def test_steps_that_were_not_validated_are_passed_over():
    nan = math.nan
    found = curves_of(kl=[nan, 0.0, nan, 20.0, nan, 4.0, nan], shuffled_error=[nan, 0.0, nan, 1.0, nan, 1.0, nan])
    assert quantity(found, KEPT) == pytest.approx(0.2)
    assert quantity(found, LOST_AT) == 5 * STEP
    kept = curves_of(kl=[nan, 0.0, 20.0, nan], shuffled_error=[nan, 0.0, 1.0, nan])
    assert quantity(kept, LOST_AT) == 2 * STEP  # never lost: where it was last measured


@pytest.mark.parametrize("of", ["kl", "shuffled_error"])
def test_latents_that_are_never_lost_count_as_lost_at_the_end(of):
    def lost_at(*curve: float) -> float | None:
        other = {"kl": "shuffled_error", "shuffled_error": "kl"}[of]
        return quantity(curves_of(**{of: curve, other: [1.0] * len(curve)}), LOST_AT)

    assert lost_at(0.0, 1.0, 0.0, 0.0, 0.0) == 2 * STEP
    assert lost_at(0.0, 1.0, 1.0, 0.95, 0.9) == 4 * STEP


@pytest.mark.parametrize("stage", ["evaluation", "diagnosis"])
def test_information_is_compared_with_that_of_the_best_linear_model(stage):
    """A sweep may measure latents without reconstructions."""

    def share(**numbers: float) -> float | None:
        return quantity(measured("row", {(stage, "val", name): value for name, value in numbers.items()}), SHARE)

    assert share(kl=6.0, linear_gaussian_kl=30.0) == pytest.approx(0.2)
    assert share(kl=36.0, linear_gaussian_kl=30.0) == pytest.approx(1.2)
    assert share(kl=0.0, linear_gaussian_kl=30.0) == 0
    assert share(kl=6.0) is share(linear_gaussian_kl=30.0) is share() is None
    assert share(kl=6.0, linear_gaussian_kl=0.0) is None  # no share of nothing
    assert share(kl=math.nan, linear_gaussian_kl=30.0) is None


@pytest.mark.parametrize("on", [True, False])
def test_quantities_of_generation_are_guided_where_the_study_guides(on):
    found = given("row", 0, of=experiment("mactok", guidance__on=on), gfd=1.0, gfd_unguided=2.0, rfd=3.0)
    assert quantity(found, "gfd") == (1.0 if on else 2.0)
    assert quantity(found, "gfd_unguided") == 2.0
    assert quantity(found, "rfd") == 3.0
    for missing in (given("row", 0), given("row", 0, gfd=math.nan, gfd_unguided=math.inf, rfd=-math.inf)):
        assert [quantity(missing, name) for name in ("gfd", "gfd_unguided", "rfd")] == [None] * 3


# What is left of the latents


def walks(number: int) -> list[tuple[list[float], list[float]]]:
    """Curves of KL and of shuffled-latent errors of all kinds."""
    rng = np.random.default_rng(0)

    def drawn(least: float, most: float) -> list[list[float]]:
        of_steps = rng.normal(size=(number, 30)) * rng.uniform(least, most, size=(number, 1))
        return np.abs(np.cumsum(of_steps, axis=1)).tolist()

    return list(zip(drawn(0.1, 5), drawn(1e-3, 0.1), strict=True))


def test_latents_are_lost_for_good_and_not_before():
    lost = 0
    for kl, used in walks(300):
        kept, step = collapse.kept(kl, used), collapse.lost_at(list(range(len(kl))), kl, used)
        assert all(0 <= share <= 1 for share in kept)
        assert (step is None) == (kept[-1] >= collapse.PARTLY_SHARE)
        if step is not None:
            assert max(kept[step:]) < collapse.PARTLY_SHARE
            assert step == 0 or kept[step - 1] >= collapse.PARTLY_SHARE
            lost += step > 0
    assert lost > 50


@pytest.mark.parametrize("of", ["KL", "use"])
@pytest.mark.parametrize("spacing", [1, 2, 5, 10, 20])
def test_what_is_lost_does_not_depend_on_how_finely_a_curve_is_sampled(spacing, of):
    steps, knots = list(range(0, 201, spacing)), range(0, 201, 50)
    curves = {"recovers": [0, 20, 4, 16, 2], "collapses": [10, 30, 30, 12, 11], "stays": [0, 20, 15, 18, 16]}
    exact = {"recovers": 150 + 50 * 6 / 14, "collapses": 100 + 50 * 15 / 18, "stays": None}

    def of_curve(curve: list[float]) -> tuple[list[float], list[float]]:
        """The curve as KL, or in hundredths as the error, beside another that stays the same."""
        constant = [1.0] * len(curve)
        return (curve, constant) if of == "KL" else (constant, [value / 100 for value in curve])

    for name, values in curves.items():
        sampled = of_curve(np.interp(steps, knots, values).tolist())
        finely = of_curve(np.interp(range(201), knots, values).tolist())
        found = collapse.lost_at(steps, *sampled)
        if spacing != 20:  # which leaves out the knots
            assert collapse.kept(*sampled)[-1] == pytest.approx(collapse.kept(*finely)[-1])
        if exact[name] is None:
            assert found is None
        else:
            assert exact[name] <= found < exact[name] + spacing + 5
