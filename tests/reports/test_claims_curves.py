"""The judge of correlations over rows, of curves, and of the best value and the range of a field."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.experiments.claims import Faster
from harness.experiments.fields import flat
from reports.claims.judge import judge, speed_up
from reports.statistics import model
from reports.statistics.bootstrap import optimum, rank_correlation_interval
from tests.reports.claimed import (
    BEST,
    MAX_RATIO,
    NOISE,
    PROBE,
    TRIED,
    WEIGHTS,
    WIDER,
    Given,
    at,
    given,
    places,
    ranges,
)

# Correlated


def probed(pairs: Sequence[tuple[float, float]]) -> list[Given]:
    """A row a pair, over two seeds around it."""
    return [
        given(f"row {k}", seed, probe=probe + noise, gfd_unguided=gfd - noise)
        for k, (probe, gfd) in enumerate(pairs)
        for seed, noise in enumerate((-0.25, 0.25))
    ]


@pytest.mark.parametrize(
    ("gfds", "against", "together"),
    [
        ((50, 40, 30, 20, 10), "holds", "does not hold"),
        ((10, 20, 30, 40, 50), "does not hold", "holds"),
        ((30, 10, 50, 20, 40), "undecided", "undecided"),
    ],
)
def test_a_rank_correlation_is_judged_over_rows(gfds, against, together):
    pairs = list(zip((1, 2, 3, 4, 5), gfds, strict=True))
    interval = rank_correlation_interval([[pair] for pair in pairs])
    for side, verdict in ((-1, against), (+1, together)):
        found = judge(dataclasses.replace(PROBE, side=side), probed(pairs), {})
        assert (found.verdict, found.n, found.p) == (verdict, 5, interval.p)
        assert f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]" in found.here
        assert re.search(r"over 5 rows .*covers \d\d % in simulation", found.here)
        assert found.paper == "-1.00 over 3 points of the figure"


def test_a_rank_correlation_takes_three_rows_that_differ():
    for pairs in ([], [(1, 9), (2, 8)], [(1, 9), (1, 8), (1, 7)]):
        assert judge(PROBE, probed(pairs), {}).verdict == "no data"
    with_nothing = [*probed([(1, 9), (2, 8)]), given("row 2", 0, probe=3.0), given("row 3", 0, gfd_unguided=3.0)]
    assert judge(PROBE, with_nothing, {}).verdict == "no data"


# Faster


def curve(of: Mapping[int, float]) -> pd.Series:
    return pd.Series(of, dtype=float)


@pytest.mark.parametrize(
    ("one", "other", "times", "censored"),
    [
        ({100: 50, 200: 20, 300: 15, 400: 10}, {100: 60, 200: 40, 300: 30, 400: 20}, 2, False),  # after 200 of 400
        ({100: 50, 200: 10}, {100: 60, 400: 20}, 400 / 175, False),  # three quarters of the way from 50 to 10
        ({100: 10, 200: 5}, {100: 40, 400: 20}, 4, True),  # there at its first point: where before, nobody knows
        ({100: 20, 200: 5}, {100: 40, 400: 20}, 4, True),
        ({100: 20.1, 200: 5}, {100: 40, 400: 20}, 400 / (100 + 100 * 0.1 / 15.1), False),
        ({100: 50, 200: 40}, {100: 60, 200: 20}, 0.75, False),  # never there: the other is at 40 after 150
        ({100: 50, 200: 40}, {100: 40, 200: 20}, 0.5, True),
        (
            {100: 50, 200: 20, 300: 30, 400: 15},
            {100: 50, 200: 40, 300: 35, 400: 25},
            400 / (100 + 100 * 25 / 30),
            False,
        ),
        ({100: 50, 200: 20}, {100: 50, 200: 20}, 1, False),
        ({400: 20}, {400: 30}, 1, True),  # one point says nothing
    ],
)
def test_the_speed_up_by_hand(one, other, times, censored):
    assert speed_up(curve(one), curve(other)) == (pytest.approx(times), censored)


def test_the_speed_up_turned_round_is_its_inverse_and_the_unit_of_gfd_does_not_matter():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(50):
        one, other = (pd.Series(rng.uniform(1, 100, 5), index=[100, 200, 300, 400, 500]) for _ in range(2))
        found, censored = speed_up(one, other)
        assert found > 0
        assert speed_up(other, one) == (pytest.approx(1 / found), censored)
        assert speed_up(3 * one + 1, 3 * other + 1) == (pytest.approx(found), censored)
        seen.add(censored)
    assert seen == {True, False}


def test_a_curve_that_needs_a_fourth_of_the_steps_is_four_times_as_fast():
    steps = np.arange(1, 401)
    fast, slow = (pd.Series(np.exp(-steps / time), index=steps) for time in (25, 100))
    assert speed_up(fast, slow) == (pytest.approx(4, rel=1e-3), False)


GRAIN = 0.1  # gFD is told to a tenth
STEPS = (100, 200, 300, 400, 500)
FASTER = Faster("fewer steps", "Fig. 6b", "row", "base", 6.25)


def falling(row: str, times: Sequence[float], finished: bool = True) -> list[Given]:
    """Curves of gFD that fall in so many steps, by seed."""
    return [
        given(row, seed, gfds={step: 100 * math.exp(-step / time) for step in STEPS}, finished=finished)
        for seed, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        ((200.0, 220.0, 190.0), "holds"),
        ((900.0, 800.0, 950.0), "does not hold"),
        ((200.0, 800.0, 350.0), "undecided"),
        ((200.0,), "undecided"),
        ((400.0, 400.0, 400.0), "undecided"),
        ((), "no data"),
    ],
)
def test_faster_is_judged_by_the_ratio_of_steps(times, verdict):
    base = falling("base", (400.0, 400.0, 400.0))
    found = judge(FASTER, [*falling("row", times), *base], {})
    assert (found.verdict, found.n, found.paper) == (verdict, len(times), "6.25 times")
    if times:
        ratios = [
            speed_up(a.points("gfd", "generator_snapshots"), base[0].points("gfd", "generator_snapshots"))[0]
            for a in falling("row", times)
        ]
        assert found.here.startswith(f"{stats.gmean(ratios):.2f} times as fast")
    if len(set(times)) > 1:
        spacing = math.log(STEPS[-1] / STEPS[-2])  # between two points nothing is known
        error = max(np.std(np.log(ratios), ddof=1), spacing / 6**0.5) / len(times) ** 0.5
        low, high = np.exp(np.mean(np.log(ratios)) + np.array([-1, 1]) * stats.t.ppf(0.975, len(times) - 1) * error)
        assert found.here.endswith(f"[{low:.2f}, {high:.2f}]")


@pytest.mark.parametrize(
    ("times", "censored"),
    [((200.0, 220.0, 190.0), 0), ((20.0, 220.0, 190.0), 1), ((20.0, 25.0, 30.0), 3), ((20.0,), 1)],
)
def test_a_speed_up_that_begins_before_the_first_kept_point_is_told_as_at_least(times, censored):
    """Five times is all that five points can show."""
    row, base = falling("row", times), falling("base", [400.0] * len(times))
    found = judge(FASTER, [*row, *base], {})
    told = f"; at least that in {censored} of {len(times)} seeds, which reach this gFD at their first point"
    assert found.here.endswith(told) == ("at least" in found.here) == (censored > 0)
    ratios = [speed_up(pd.Series(a.gfds), pd.Series(b.gfds)) for a, b in zip(row, base, strict=True)]
    assert [ratio == (5, True) for ratio in ratios].count(True) == censored
    assert found.here.startswith(f"{stats.gmean([ratio for ratio, _ in ratios]):.2f} times as fast")


def test_a_slow_down_that_begins_before_the_first_kept_point_is_told_as_at_most():
    row, base = falling("row", (400.0, 400.0)), falling("base", (20.0, 300.0))
    found = judge(FASTER, [*row, *base], {})
    assert found.here.endswith("; at most that in 1 of 2 seeds, which reach this gFD at their first point")
    assert "at least" not in found.here


def test_curves_with_what_is_no_number_are_left_out():
    results = [*falling("row", (200.0, 220.0, 190.0)), *falling("base", (400.0, 400.0, 400.0))]
    bad = [given("row", 3, gfds={100: 50.0, 200: math.nan}), given("base", 3, gfds={100: 50.0, 200: 40.0})]
    bad += [given("row", 4, gfds={100: 50.0, 200: 40.0}), given("base", 4, gfds={100: math.inf, 200: 40.0})]
    bad += [given("row", 5), given("base", 5, gfds={100: 50.0})]
    assert judge(FASTER, results + bad, {}) == judge(FASTER, results, {})


# Best


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ({m: 100.0 + 100 * (m != 0.7) for m in TRIED}, "holds"),
        ({m: 100.0 + 100 * (m != 0.5) for m in TRIED}, "does not hold"),
        ({m: 100.0 + 100 * (m not in (0.6, 0.7)) for m in TRIED}, "undecided"),
        (dict.fromkeys(TRIED, 100.0), "undecided"),
        ({m: 100.0 + 100 * (m not in (0.5, 0.6)) for m in TRIED}, "does not hold"),
        ({m: 100.0 + 100 * (m != 0.7) for m in TRIED if m != 0.6}, "no data"),
        ({}, "no data"),
    ],
)
def test_best_holds_only_where_no_other_place_can_be_the_best(means, verdict):
    found = judge(BEST, places(means), {})
    assert (found.verdict, found.p, found.paper) == (verdict, None, "0.7")
    if verdict == "no data":
        assert found.here.endswith(": 0.6" if means else ": 0.4, 0.5, 0.6, 0.7, 0.8")
    else:
        groups = {m: dict(enumerate(mean + n for n in NOISE)) for m, mean in means.items()}
        among = optimum(groups, "lower", GRAIN).candidates
        assert f"the truth may be at {', '.join(f'{m:g}' for m in among)} (" in found.here
        assert re.search(r"covers \d\d % in simulation", found.here)
        assert found.n == 3


def test_the_verdict_of_best_follows_the_interval_of_the_optimum():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        groups = {m: dict(enumerate(rng.normal(2 * (m != 0.7) * rng.uniform(0, 3), 1, 3))) for m in TRIED}
        found = judge(BEST, [at(m, seed, v) for m, values in groups.items() for seed, v in values.items()], {})
        among = optimum(groups, "lower", GRAIN).candidates
        seen.add(found.verdict)
        first = among == (0.7,) and model.ahead({f"{m:g}": of for m, of in groups.items()}, "0.7", -1, GRAIN)
        assert found.verdict == ("does not hold" if 0.7 not in among else "holds" if first else "undecided")
    assert len(seen) > 1


def test_places_that_the_paper_did_not_try_do_not_count():
    results = places({m: 100.0 + 100 * (m != 0.7) for m in TRIED})
    assert judge(BEST, results + places({0.0: 1.0, 0.75: 2.0}), {}) == judge(BEST, results, {})


def test_one_seed_has_a_best_place_and_decides_nothing():
    found = judge(BEST, places({m: m for m in TRIED}, noise=(0.0,)), {})
    assert (found.verdict, found.n) == ("undecided", 1)
    assert found.here == "gFD is best at 0.4; one seed: no interval"
    alike = judge(BEST, places({m: m for m in TRIED}, noise=(0.0, 0.0)), {})
    assert (alike.verdict, alike.n) == ("does not hold", 2)  # 0.1 apart and all alike: they are told to a tenth


def test_what_is_no_number_is_not_measured():
    results = places({m: 100.0 + 100 * (m != 0.7) for m in TRIED})
    assert judge(BEST, [*results, at(0.5, 3, math.nan)], {}) == judge(BEST, results, {})
    gone = [r for r in results if flat(r.experiment)[MAX_RATIO] != 0.5]
    assert judge(BEST, [*gone, at(0.5, 0, math.inf)], {}).here.endswith(": 0.5")


# Wider


@pytest.mark.parametrize(
    ("kl_vae", "mactok", "verdict"),
    [
        ((2, 2, 2), (4, 4, 4), "holds"),
        ((0, 0, 0), (5, 5, 5), "holds"),
        ((4, 4, 4), (2, 2, 2), "does not hold"),
        ((2, 2, 2), (3, 3, 3), "undecided"),  # one step of the grid, in three seeds
        ((2, 2, 2, 2, 2), (3, 3, 3, 3, 3), "holds"),
        ((2, 2, 2), (2, 2, 1), "undecided"),
        ((2, 2, 2), (4, 1, 4), "undecided"),
        ((0,), (5,), "undecided"),
        ((), (5, 5, 5), "no data"),
    ],
)
def test_wider_takes_more_than_the_grain_of_the_grid(kl_vae, mactok, verdict):
    found = judge(WIDER, ranges({"KL-VAE": kl_vae, "mactok": mactok}), {})
    assert (found.verdict, found.n) == (verdict, len(kl_vae))
    if kl_vae:
        counts = [", ".join(map(str, seeds)) for seeds in (mactok, kl_vae)]
        assert found.here.startswith(f"mactok is active at {counts[0]} of 5 values and KL-VAE is active at {counts[1]}")


def test_only_values_that_both_rows_have_are_counted():
    """Else the row whose sweep is further would have the wider range."""
    few = ranges({"KL-VAE": (1, 1, 1)}, WEIGHTS[:1])
    found = judge(WIDER, few + ranges({"mactok": (5, 5, 5)}), {})
    assert (found.verdict, found.n) == ("undecided", 3)
    assert "mactok is active at 1, 1, 1 of 1 values" in found.here
    others = ranges({"KL-VAE": (1, 1, 1)}, WEIGHTS[:1]) + ranges({"mactok": (1, 1, 1)}, WEIGHTS[1:])
    assert judge(WIDER, others, {}).verdict == "no data"
    unfinished = [dataclasses.replace(r, finished=False) for r in ranges({"mactok": (5, 5, 5)}, WEIGHTS[1:])]
    assert judge(WIDER, few + ranges({"mactok": (1, 1, 1)}, WEIGHTS[:1]) + unfinished, {}) == found


def test_only_seeds_that_both_rows_have_are_counted():
    found = judge(WIDER, ranges({"KL-VAE": (2, 2, 2), "mactok": (4, 4, 4, 0)}), {})
    assert (found.verdict, found.n) == ("holds", 3)


def test_a_range_is_judged_by_the_noise_of_its_two_rows():
    """Other rows are active everywhere or nowhere, so that their counts cannot vary."""
    pair = {"KL-VAE": (2, 2, 2), "mactok": (3, 4, 3)}
    others = {"image_masking": (4, 4, 4), "local_alignment": (4, 4, 4), "latent_masking": (1, 1, 1)}
    alone, found = (judge(WIDER, ranges(rows), {}) for rows in (pair, pair | others))
    assert (found.verdict, found.n, found.effect.freedom) == ("undecided", 3, 2)
    assert found == alone
