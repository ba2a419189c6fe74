"""What a study could have seen, and looks at a study that grows."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from harness.experiments.seeds import looks
from harness.system.errors import Mistake
from reports.statistics import power
from reports.statistics.looks import level_of_look
from reports.statistics.model import difference


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_what_is_detectable_is_shown_in_four_studies_of_five(n):
    truth = power.detectable(2.0, n, n - 1)
    shown = np.random.default_rng(n).normal(truth, 2.0, size=(40_000, n))
    assert np.mean(stats.ttest_1samp(shown, 0, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.007)
    assert power.power(truth, 2.0, n, n - 1) == power.power(-truth, 2.0, n, n - 1) == pytest.approx(0.8)


def test_many_seeds_are_normal_and_a_stricter_level_takes_more():
    quantiles = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert power.detectable(3.0, 2000, 1999) == pytest.approx(3.0 * quantiles / 2000**0.5, rel=2e-3)
    assert power.detectable(1.0, 3, 2, 0.05 / 6) > 2 * power.detectable(1.0, 3, 2) > 3 * power.detectable(1.0, 3, 12)


def test_the_seeds_that_would_do_are_the_fewest():
    needed = power.seeds_needed(1.0, 1.0, 3, 12, 0.01)
    assert power.power(1.0, 1.0, needed, 12 * (needed - 1) / 2, 0.01) >= 0.8
    assert power.power(1.0, 1.0, needed - 1, 12 * (needed - 2) / 2, 0.01) < 0.8
    assert power.seeds_needed(1e-3, 1.0, 3, 12) is None


def test_a_deviation_is_uncertain_itself():
    low, high = power.deviation_range(1.0, 2)
    assert (low, high) == (pytest.approx(0.52, abs=0.01), pytest.approx(6.28, abs=0.01))
    deviations = np.random.default_rng(0).normal(size=(20_000, 3)).std(1, ddof=1)
    assert np.mean((low * deviations <= 1) & (high * deviations >= 1)) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(("deviation", "n"), [(0.0, 3), (-1.0, 3), (nan, 3), (inf, 3), (1.0, 1)])
def test_no_power_without_noise_or_seeds(deviation, n):
    for ask in (
        power.detectable,
        lambda d, k, f: power.power(1.0, d, k, f),
        lambda d, k, f: power.seeds_needed(1.0, d, k, f),
    ):
        with pytest.raises(ValueError, match="power"):
            ask(deviation, n, 2)


def test_looks_are_planned_up_to_the_most():
    assert looks(2) == (2,)
    assert looks(8) == (3, 5, 8)
    assert looks(10) == (3, 5, 8, 10)
    with pytest.raises(Mistake, match="fewer than 2 seeds"):
        looks(1)


@pytest.mark.parametrize("most", [3, 5, 8, 20])
def test_all_looks_together_err_in_five_percent(most):
    planned, studies = looks(most), 20_000
    level = level_of_look(planned)
    shown = np.random.default_rng(most).normal(size=(studies, most))
    p = np.stack([stats.ttest_1samp(shown[:, :n], 0, axis=1).pvalue for n in planned])
    assert np.mean((p <= level).any(0)) == pytest.approx(0.05, abs=0.005)
    assert level == 0.05 if len(planned) == 1 else 0.05 / len(planned) < level < 0.05
    first = {"row": dict(enumerate(shown[0, :3].tolist())), "than": dict.fromkeys(range(3), 0.0)}
    assert difference(first, "row", "than").tested(+1)[1] == pytest.approx(p[0, 0])


def test_three_looks_have_the_level_that_is_known():
    assert level_of_look((3, 5, 8)) == pytest.approx(0.021, abs=0.002)
