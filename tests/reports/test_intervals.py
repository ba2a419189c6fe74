"""Intervals, tests and verdicts keep what they promise, in studies that are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.records import UNBOUNDED
from reports.statistics import bootstrap, intervals

STUDIES = 4000


def by_seed(groups: Mapping[Any, Sequence[float]]) -> dict[Any, dict[int, float]]:
    """The values of points by seed; points do not share their seeds, so that none has a common effect."""
    return {m: {100 * k + seed: v for seed, v in enumerate(values)} for k, (m, values) in enumerate(groups.items())}


# Several tests together


@pytest.fixture
def no_collection(monkeypatch):
    """The library collects garbage after every family, which takes most of its time."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def directly(p_values: list[float]) -> list[float]:
    """Holm by the definition of an adjusted p value: the least level at which the step-down procedure rejects."""
    at = {p: min(1.0, p * sum(other >= p for other in p_values)) for p in p_values}
    return [max(at[q] for q in p_values if q <= p) for p in p_values]


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.6, None, 0.02, 0.6, None]) == [1.0, None, pytest.approx(0.06), 1.0, None]
    assert intervals.holm([None, 0.04]) == [None, 0.04]
    assert intervals.holm([]) == []


def test_holm_is_its_definition(no_collection):
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 9):
        for _ in range(50):
            p_values = [round(float(p), 1) ** 3 for p in rng.uniform(size=size)]  # rounded: with ties
            assert intervals.holm(p_values) == pytest.approx(directly(p_values))


@pytest.mark.parametrize("wrong", [nan, -0.1, 1.1])
def test_holm_takes_p_values(wrong):
    with pytest.raises(ValueError, match="no p value"):
        intervals.holm([0.5, wrong])


def test_few_families_have_a_false_discovery(no_collection):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(STUDIES, 9, 4)) + 20.0 * np.isin(np.arange(9), (0, 1))[:, None]  # two effects of eight
    p_values = stats.ttest_1samp(rows[:, :8] - rows[:, 8:], 0, axis=2).pvalue  # all differ from the same base
    none = p_values[:, 2:]
    found = np.array([intervals.holm(list(p))[2:] for p in p_values])
    assert (none <= 0.05).any(1).mean() > 0.1
    assert 0.01 < (found <= 0.05).any(1).mean() < 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5


@pytest.mark.parametrize("wrong", [nan, inf])
def test_what_is_not_finite_is_refused(wrong):
    with pytest.raises(ValueError, match="finite"):
        bootstrap.rank_correlation_interval([[(1.0, 1.0)], [(2.0, wrong)], [(3.0, 3.0)]])
    with pytest.raises(ValueError, match="finite"):
        optimum({1: [1.0, 2.0], 2: [1.0, wrong]}, "higher")


# Rank correlation


def of_one_seed(a: list[float], b: list[float]) -> intervals.Interval | None:
    return bootstrap.rank_correlation_interval([[pair] for pair in zip(a, b, strict=True)])


def test_a_perfect_order_of_five_rows_is_no_certainty():
    found = of_one_seed([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])
    assert found.estimate == pytest.approx(1)
    assert 0.1 < found.low < 0.5
    assert found.high == 1
    assert found.n == 5


def test_more_rows_say_more():
    widths = [found.high - found.low for n in (5, 7, 10) if (found := of_one_seed(range(n), [1, 0, *range(2, n)]))]
    assert widths[0] > 1.4 * widths[1] > 2 * widths[2]


def test_a_metric_turned_round_turns_the_interval_round():
    a, b = np.random.default_rng(0).normal(size=(2, 8)) + np.arange(8) / 3
    one, other = of_one_seed(list(a), list(b)), of_one_seed(list(a), list(-b))
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))
    assert one.p == other.p


def test_ranks_are_of_means_over_seeds_and_their_scale_does_not_matter():
    rows = [[(k - 1.0, k**2 + 3.0), (k + 1.0, k**2 - 3.0)] for k in (3.0, 1.0, 2.0, 5.0, 4.0)]
    found = bootstrap.rank_correlation_interval(rows)
    assert found == of_one_seed([3, 1, 2, 5, 4], [9, 1, 4, 25, 16])
    assert found == of_one_seed([30, 10, 20, 50, 40], list(np.exp([9, 1, 4, 25, 16])))


def test_no_rank_correlation_of_two_rows_or_of_a_constant():
    assert bootstrap.rank_correlation_interval([]) is None
    assert of_one_seed([1, 2], [1, 2]) is None
    assert of_one_seed([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="without values"):
        bootstrap.rank_correlation_interval([[(1.0, 1.0)], [], [(2.0, 2.0)]])


def test_ties_have_an_interval_around_their_estimate():
    found = of_one_seed([0, 0, 0, 1, 1, 1], [1, 2, 3, 2, 5, 6])
    assert -1 < found.low < 0 < found.estimate < found.high < 1


def test_the_p_value_is_that_of_all_orders_and_agrees_with_the_interval():
    orders = list(permutations(range(6)))
    null = np.array([stats.pearsonr(range(6), order).statistic for order in orders])
    decided = set()
    for order in orders[::37]:
        found = of_one_seed(range(6), order)
        exact = min(1, 2 * min(np.mean(null >= found.estimate - 1e-9), np.mean(null <= found.estimate + 1e-9)))
        assert found.p == pytest.approx(exact, abs=0.02)
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        decided.add(found.p <= 0.05)
    assert decided == {True, False}


def test_no_correlation_has_a_p_value_of_one():
    found = of_one_seed([1, 2, 3, 4], [2, 4, 1, 3])
    assert (found.estimate, found.p) == (pytest.approx(0), 1)


def test_a_coverage_is_never_rounded_up():
    assert bootstrap._percent(0.9499) == "94 %"


@pytest.mark.parametrize("rows", [5, 7, 10])
def test_the_interval_of_a_rank_correlation_covers_and_says_how_often(rows):
    promised = bootstrap.rank_correlation_coverage(rows)
    assert 0.92 < min(promised.values()) < max(promised.values()) < 0.995
    covers = min(promised.values())
    assert of_one_seed(range(rows), range(rows)).method.endswith(f"covers {int(100 * covers)} % in simulation")


@pytest.mark.parametrize(("rows", "seeds"), [(5, 1), (7, 3), (10, 5)])
@pytest.mark.parametrize("r", [0.0, 0.95])
def test_so_it_does_in_studies_of_rows_and_seeds(rows, seeds, r):
    rng, noise, studies = np.random.default_rng(rows), 0.3, 500
    truth = 6 / np.pi * np.arcsin(r / (1 + noise**2 / seeds) / 2)  # of normal means over seeds
    first, other = rng.normal(size=(2, studies, rows, 1))
    both = np.stack([first, r * first + (1 - r * r) ** 0.5 * other], -1)  # (studies, rows, 1, 2)
    both = both + noise * rng.normal(size=(studies, rows, seeds, 2))
    found = [bootstrap.rank_correlation_interval(study) for study in both.tolist()]
    covered = np.mean([f.low <= truth <= f.high for f in found])
    assert 0.93 < covered < 0.997
    assert covered == pytest.approx(min(bootstrap.rank_correlation_coverage(rows).values()), abs=0.05)


# Optimum


def optimum(groups: Mapping[Any, Sequence[float]], better: str) -> Any:
    return bootstrap.optimum(by_seed(groups), better)


def test_equal_means_leave_the_whole_range():
    found = optimum({m: [1.0, 2.0, 3.0] for m in (0.4, 0.5, 0.6, 0.7)}, "higher")
    assert (found.low, found.high, found.candidates) == (0.4, 0.7, (0.4, 0.5, 0.6, 0.7))
    assert list(found.share.values()) == pytest.approx([0.25] * 4, abs=0.015)


def test_a_clear_peak_is_a_place_and_lower_is_higher_turned_round():
    values = {m: [100 * abs(m - 2) + e for e in (-1.0, 0.0, 1.0)] for m in range(5)}
    low = optimum(values, "lower")
    assert (low.best, low.low, low.high, low.candidates) == (2, 2, 2, (2,))
    assert low.share == {0: 0, 1: 0, 2: 1, 3: 0, 4: 0}
    assert low == optimum({m: [-v for v in seeds] for m, seeds in values.items()}, "higher")
    assert optimum(values, "higher").candidates == (0, 4)


def test_the_interval_spans_what_is_among_the_best():
    found = optimum({"a": [9.0, 10.0, 11.0], "b": [0.0, 1.0, 2.0], "c": [10.0, 11.0, 12.0]}, "higher")
    assert (found.best, found.low, found.high, found.candidates) == ("c", "a", "c", ("a", "c"))


def test_two_places_are_compared_by_students_t():
    one, other = [1.0, 2.0, 4.0], [2.0, 2.5, 5.0]
    t = stats.ttest_ind(other, one).statistic
    share = optimum({"one": one, "other": other}, "higher").share
    assert share["other"] == pytest.approx(stats.t.cdf(t, 4), abs=0.01)
    width = np.std([0.0, 1.0, 2.0], ddof=1) * (2 / 3) ** 0.5 * stats.t.ppf(0.95, 4)  # where one tail has 5 %
    for ahead, among in ((0.95 * width, (0, 1)), (1.05 * width, (1,))):
        found = optimum({0: [0.0, 1.0, 2.0], 1: [ahead, 1 + ahead, 2 + ahead]}, "higher")
        assert found.candidates == among


def test_a_place_with_one_seed_leans_on_the_variance_of_others_and_stays_longer():
    noise = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    ahead = 2.2 * np.std(noise, ddof=1)
    found = optimum({0: [0.0], 1: list(noise), 2: list(noise + ahead)}, "higher")
    assert found.candidates == (0, 2)


@pytest.mark.parametrize("groups", [{0: [1.0], 1: [2.0]}, {0: [1.0] * 3, 1: [0.1] * 3}])
def test_without_variance_the_optimum_has_no_interval(groups):
    assert optimum(groups, "higher") is None


@pytest.mark.parametrize(
    ("groups", "better"), [({}, "higher"), ({0: [], 1: [1.0, 2.0]}, "higher"), ({0: [1.0, 2.0]}, "")]
)
def test_an_optimum_takes_places_with_values_and_a_direction(groups, better):
    with pytest.raises(ValueError, match=r"no points|without values|higher or lower"):
        optimum(groups, better)


@pytest.mark.parametrize(("places", "seeds"), [(6, 3), (5, 2), (3, 5)])
def test_of_equal_places_the_first_is_in_the_interval_as_often_as_it_says(places, seeds):
    drawn = np.random.default_rng(places).normal(size=(1000, places, seeds))
    found = [optimum(dict(enumerate(study)), "lower") for study in drawn.tolist()]
    covered = np.mean([f.low == 0 for f in found])
    assert 0.93 < covered < 0.97
    assert covered == pytest.approx(found[0].coverage[bootstrap.EQUAL], abs=0.02)
    assert np.mean([f.low == 0 and f.high == places - 1 for f in found]) > 0.88
    assert f"covers {int(100 * found[0].coverage[bootstrap.EQUAL])} % in simulation" in found[0].method


@pytest.mark.parametrize("counts", [(3,) * 6, (2, 2), (1, 3, 3), (10,) * 3])
def test_the_optimum_is_covered_best_where_it_is_a_peak_and_worst_where_it_is_noisy(counts):
    found = bootstrap.optimum_coverage(counts, False)
    assert 0.935 < found[bootstrap.EQUAL] < 0.965
    assert found[bootstrap.PEAKED] > 0.985
    assert 0.8 < found[bootstrap.NOISY] < found[bootstrap.EQUAL]


def test_the_same_values_give_the_same_interval():
    def both() -> tuple[object, ...]:
        caches = (bootstrap._drawn, bootstrap._noise, bootstrap.rank_correlation_coverage, bootstrap.optimum_coverage)
        for cached in caches:
            cached.cache_clear()
        return of_one_seed([1, 2, 3, 4], [2, 1, 3, 4]), optimum({0: [1.0, 2.0], 1: [3.0, 2.5]}, "higher")

    assert both() == both()


def test_what_a_seed_does_to_all_points_cancels():
    rng = np.random.default_rng(0)
    seeds, noise = rng.normal(0, 50, 3), rng.normal(0, 1, (5, 3))
    groups = {k: dict(enumerate(10.0 * abs(k - 2) + seeds + noise[k])) for k in range(5)}
    assert bootstrap.optimum(groups, "lower").candidates == (2,)
    assert len(optimum({k: list(of.values()) for k, of in groups.items()}, "lower").candidates) == 5


@pytest.mark.parametrize("counts", [(3,) * 6, (2, 2), (5,) * 3])
def test_of_points_with_common_seeds_the_best_is_covered_as_often(counts):
    found = bootstrap.optimum_coverage(counts, True)
    assert 0.935 < found[bootstrap.EQUAL] < 0.965
    drawn = np.random.default_rng(1).normal(size=(600, len(counts), counts[0]))
    drawn += np.random.default_rng(2).normal(0, 9, size=(600, 1, counts[0]))
    best = [
        bootstrap.optimum({k: dict(enumerate(v)) for k, v in enumerate(study)}, "lower") for study in drawn.tolist()
    ]
    assert np.mean([0 in f.candidates for f in best]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("values", "bounds", "text"),
    [
        ([1.28, 1.28, 0.0002], (0.0, inf), "0.9 [0.0, 2.7]"),
        ([0.958, 0.992, 0.0], (0.0, 1.0), "0.7 [0.0, 1.0]"),
        ([1.28, 1.28, 0.0002], UNBOUNDED, "0.9 ± 1.8"),
        ([5.0, 5.1, 5.2], (0.0, inf), "5.1 ± 0.2"),
        ([0.5], (0.0, 1.0), "0.5"),
    ],
)
def test_an_interval_ends_where_nothing_is_possible(values, bounds, text):
    assert intervals.shown(values, 1, bounds) == text
