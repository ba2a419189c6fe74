"""Rows and seeds: differences and levels with the noise of all rows, against independent forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from reports.statistics import model
from reports.statistics.components import components
from reports.statistics.model import Effect, difference, level

STUDIES = 2000
ROOT = Path(__file__).parents[2]


def drawn(seed: int, rows: int, seeds: int, common: float = 3.0) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, seeds)) + common * rng.normal(size=seeds)
    return {f"row {k}": dict(enumerate(values)) for k, values in enumerate(table.tolist())}


def common_share(values: dict[str, dict[int, float]]) -> float | None:
    """The share of the variance between seeds that is common to all rows."""
    nested = {row: {seed: {0: {0: v}} for seed, v in of.items()} for row, of in values.items()}
    parts = components(nested)
    return None if parts is None else parts.common / (parts.common + parts.tokenizer)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_two_rows_alone_are_students_paired_t(n):
    values = drawn(n, 2, n)
    one, other = (list(of.values()) for of in values.values())
    test, found = stats.ttest_rel(one, other), difference(values, "row 0", "row 1")
    low, high = test.confidence_interval(0.95)
    assert (found.estimate - found.half_width(), found.estimate + found.half_width()) == pytest.approx((low, high))
    assert found.tested(+1)[1] == found.tested(-1)[1] == pytest.approx(test.pvalue)
    assert (found.freedom, found.n, found.same_noise) == (n - 1, n, 1.0)


def test_a_row_alone_is_students_t():
    values = {"row 0": drawn(0, 2, 5)["row 0"]}
    test, found = stats.ttest_1samp(list(values["row 0"].values()), 0.3), level(values, "row 0")
    shifted = Effect(found.estimate - 0.3, found.deviation, found.freedom, found.n)
    assert shifted.tested(+1)[1] == pytest.approx(test.pvalue)


def least_squares(values: dict[str, dict[int, float]]) -> OLS:
    """The model of rows and seeds by a library, all values there are."""
    cells = [(row, seed, value) for row, of in values.items() for seed, value in of.items()]
    rows, seeds = sorted({row for row, *_ in cells}), sorted({seed for _, seed, _ in cells})
    design = [[float(row == r) for r in rows] + [float(seed == s) for s in seeds[1:]] for row, seed, _ in cells]
    return OLS([value for *_, value in cells], np.array(design)).fit()


@pytest.mark.parametrize("missing", [(), (("row 3", 1),), (("row 0", 2), ("row 4", 0))])
def test_the_noise_is_that_of_least_squares(missing):
    values = drawn(1, 5, 4)
    for row, seed in missing:
        del values[row][seed]
    fit = least_squares(values)
    deviation, freedom = model.noise(values)
    assert (deviation, freedom) == pytest.approx((fit.mse_resid**0.5, fit.df_resid))


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_is_weighted_by_how_alike_the_noise_is(seed):
    values = drawn(seed, 6, 4)
    found = difference(values, "row 0", "row 1")
    apart = [values["row 0"][s] - values["row 1"][s] for s in range(4)]
    fit = least_squares(values)
    own, rest = np.var(apart, ddof=1), 2 * (fit.ssr - 1.5 * np.var(apart, ddof=1)) / (fit.df_resid - 3)
    same = stats.f.sf(own / rest, 3, fit.df_resid - 3)
    weight = same * (fit.df_resid - 3)
    assert found.same_noise == pytest.approx(same)
    assert found.freedom == pytest.approx(weight + 3)
    assert found.deviation**2 == pytest.approx((weight * rest + 3 * own) / (weight + 3))


def test_a_level_has_the_noise_of_other_rows_and_of_seeds():
    values = drawn(3, 4, 3)
    found, own = level(values, "row 2"), np.var(list(values["row 2"].values()), ddof=1)
    rest = np.mean([np.var(list(of.values()), ddof=1) for row, of in values.items() if row != "row 2"])
    weight = 6 * stats.f.sf(own / rest, 2, 6)
    assert found.deviation**2 == pytest.approx((weight * rest + 2 * own) / (weight + 2))
    assert found.freedom == pytest.approx(weight + 2)


def test_what_is_noisier_than_the_rest_is_taken_for_itself():
    values = drawn(0, 12, 3)
    values["row 0"] = {seed: 100 * value for seed, value in values["row 0"].items()}
    found = difference(values, "row 0", "row 1")
    apart = [values["row 0"][seed] - values["row 1"][seed] for seed in range(3)]
    assert found.same_noise < 0.01
    assert found.freedom == pytest.approx(2, abs=0.2)
    assert found.deviation == pytest.approx(np.std(apart, ddof=1), rel=0.05)


def test_a_study_comes_out():
    """Residual 33 and common to the rows 64 in gFD, with 8 degrees of freedom, and +140 for semantic masks."""
    measured = {  # parts that are on: masks, semantic ones, local and global alignment
        "++++": [1652.37, 1585.21, 1730.83],
        "+++-": [1639.26, 1592.26, 1787.29],
        "+-+-": [1490.02, 1519.25, 1589.49],
        "+---": [1525.28, 1523.98, 1659.44],
        "----": [1524.85, 1488.47, 1558.72],
    }
    of_rows = {row: dict(enumerate(values)) for row, values in measured.items()}
    deviation, freedom = model.noise(of_rows)
    assert (round(deviation), freedom) == (33, 8)
    common = common_share(of_rows)
    assert round(deviation * (common / (1 - common)) ** 0.5) == 64
    apart = difference(of_rows, "+++-", "+-+-")
    assert apart.estimate == pytest.approx(140.0, abs=0.05)
    pooled = stats.t.ppf(0.975, 8) * deviation * (2 / 3) ** 0.5
    assert round(pooled) == 62
    p = 2 * stats.t.sf(apart.estimate / (deviation * (2 / 3) ** 0.5), 8)
    assert p < 0.001
    assert apart.freedom < 8  # its own seeds are noisier than the rest, so the rest counts for less
    assert apart.half_width() > pooled
    verdict, p = apart.tested(-1)
    assert verdict == "does not hold"
    assert p < 0.05


# Grain


def test_equal_values_are_known_to_their_last_decimal():
    values = {"row": dict.fromkeys(range(3), 1.0), "base": dict.fromkeys(range(3), 0.0)}
    assert difference(values, "row", "base") is None
    found = difference(values, "row", "base", grain=0.01)
    assert found.deviation == pytest.approx(0.01 / 6**0.5)
    assert found.tested(+1) == ("holds", pytest.approx(2 * stats.t.sf(3**0.5 * 6**0.5 / 0.01, found.freedom)))
    none = difference({"row": {0: 1.0, 1: 1.0}, "base": {0: 1.0, 1: 1.0}}, "row", "base", grain=0.01)
    assert none.tested(+1)[1] == pytest.approx(1.0)
    assert level(values, "row", grain=0.01).deviation == pytest.approx(0.01 / 12**0.5)


@pytest.mark.parametrize("values", [{}, {"row": {0: 1.0}}, {"row": {0: 1.0, 1: 2.0}, "base": {1: 1.0, 2: 1.0}}])
def test_fewer_than_two_seeds_have_no_noise(values):
    assert difference(values, "row", "base", 0.1) is None
    assert (level(values, "row", 0.1) is None) == (len(values.get("row", {})) < 2)


def test_what_is_not_finite_is_refused():
    for wrong in (float("nan"), float("inf")):
        values = {"row": {0: 1.0, 1: wrong}, "base": {0: 1.0, 1: 2.0}}
        for function in (lambda v: difference(v, "row", "base"), lambda v: level(v, "row"), model.noise):
            with pytest.raises(ValueError, match="finite"):
                function(values)


# Verdicts of a test


@pytest.mark.parametrize(("side", "margin"), [(2, None), (0, None), (1, 1.0), (0, 0.0), (0, -1.0), (0, float("nan"))])
def test_a_claim_has_a_side_or_a_margin(side, margin):
    with pytest.raises(ValueError, match="margin"):
        Effect(1.0, 1.0, 2, 3).tested(side, margin)


@pytest.mark.parametrize("truth", [0.0, 1.0, -1.0, 3.0])
def test_a_verdict_is_where_the_interval_lies(truth):
    effect = Effect(truth, 0.4, 7, 3)
    low, high = truth - effect.half_width(), truth + effect.half_width()
    for side, margin, agrees, contradicts in (
        (+1, None, low > 0, high < 0),
        (-1, None, high < 0, low > 0),
        (0, 1.2, low > -1.2 and high < 1.2, high < -1.2 or low > 1.2),
    ):
        verdict, p = effect.tested(side, margin)
        assert (verdict == "holds" and p <= 0.05, verdict == "does not hold" and p <= 0.05) == (agrees, contradicts)


@pytest.mark.parametrize(("n", "rows"), [(3, 2), (3, 7), (5, 5)])
def test_without_effect_few_claims_hold(n, rows):
    held = [difference(drawn(k, rows, n), "row 0", "row 1").tested(+1) for k in range(STUDIES)]
    assert np.mean([verdict == "holds" and p <= 0.05 for verdict, p in held]) < 0.025 + 3 * (0.025 / STUDIES) ** 0.5


def test_ahead_of_all_is_ahead_of_each_with_the_noise_of_each():
    values = drawn(0, 5, 4)
    values["row 0"] = {seed: value + 30.0 for seed, value in values["row 0"].items()}
    assert model.ahead(values, "row 0", +1)
    assert not model.ahead(values, "row 0", -1)
    assert not model.ahead(values, "row 1", +1)
    noisy = values | {"row 3": {0: 90.0, 1: -90.0, 2: 20.0, 3: -40.0}}  # it may be the best, for all we know
    assert not model.ahead(noisy, "row 0", +1)


# What a mean does not tell


def test_the_seed_that_lies_apart_is_the_one_that_differs():
    assert model.outlier({0: 1.28, 1: 1.28, 2: 0.0002}) == 2
    assert model.outlier({0: 0.0002, 1: 1.28, 2: 1.28}) == 0
    for none in ({}, {0: 1.0}, {0: 1.0, 1: 5.0}, dict.fromkeys(range(3), 1.0), {0: 1.0, 1: 2.0, 2: 4.0}):
        assert model.outlier(none) is None
    found = [model.outlier(dict(enumerate(np.random.default_rng(seed).normal(size=4)))) for seed in range(1000)]
    assert np.mean([seed is not None for seed in found]) < 0.01 + 3 * (0.01 / 1000) ** 0.5


def test_the_share_of_seeds_that_is_common_to_rows():
    found = [common_share(drawn(seed, 6, 60, common=2.0)) for seed in range(50)]
    assert np.median(found) == pytest.approx(0.8, abs=0.05)
    assert common_share({"row": {0: 1.0, 1: 2.0}}) is None
    assert common_share({}) is None
