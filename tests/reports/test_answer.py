"""What a sweep's page concludes from values that are made up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats

from harness.experiments.fields import flat
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import Point, SweepRequest, study_called
from harness.experiments.scales import scale
from reports.statistics import intervals
from reports.statistics.bootstrap import optimum
from reports.sweep.answer import Answer
from reports.sweep.points import TriedPoint, TriedPoints
from tests.conftest import experiment
from tests.reports.claimed import KL_WEIGHT, given, ranges
from tests.reports.test_report import table

NOISE = (-1.0, 0.0, 1.0)
FIELD = "tokenizer.masking.max_ratio"


@dataclass(frozen=True)
class Made(TriedPoints):
    given: list[TriedPoint] = field(default_factory=list)

    @property
    def done(self) -> list[TriedPoint]:
        return list(self.given)

    @property
    def all(self) -> list[TriedPoint]:
        return list(self.given)

    @property
    def by_row(self) -> dict[str, list[TriedPoint]]:
        rows = dict.fromkeys(t.location.row for t in self.given)
        return {row: [t for t in self.given if t.location.row == row] for row in rows}


def answer(means: dict[float, float], noise: tuple[float, ...] = NOISE, path: str = FIELD, **options: object) -> Answer:
    """Of mask_ratio by gFD, with so much noise around the means."""
    common = {"objective": "gfd", "seeds": len(noise)} | options
    asked = SweepRequest("mask_ratio", study_called("mask_ratio"), scale("tiny"), **common)
    name = {"gfd": "gfd_unguided"}.get(common["objective"], common["objective"])
    made = []
    for k, (at, mean) in enumerate(means.items()):
        of = experiment("mactok", guidance__on=False, **{path.replace(".", "__"): at})
        results = [given(f"{at:g}", seed, of=of, **{name: v}) for seed, v in noisy(mean, k, noise).items()]
        made.append(TriedPoint(Point("random masks", ((path, at),)), k, "done", "", results))
    return Answer(Made(asked, None, None, made))


def noisy(mean: float, k: int, noise: tuple[float, ...] = NOISE) -> dict[int, float]:
    """The values of place `k` by seed: every place has the same noise in another order."""
    return {seed: mean + noise[(seed + k) % len(noise)] for seed in range(len(noise))}


def claim(found: Answer) -> str:
    (told,) = [line for line in found.lines() if line.startswith("Claim of the paper")]
    return told


PAPERS = (0.4, 0.5, 0.6, 0.7, 0.8)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ({m: 100.0 + 100 * (m != 0.7) for m in PAPERS}, "**Holds** over 3 seeds"),
        ({m: 100.0 + 100 * (m != 0.5) for m in PAPERS}, "**Does not hold** over 3 seeds"),
        (dict.fromkeys(PAPERS, 100.0), "**Undecided** over 3 seeds"),
        ({m: 100.0 for m in PAPERS if m != 0.6}, "**No data**: not measured by gFD: 0.6."),
    ],
)
def test_a_claim_holds_where_no_other_place_can_be_best_and_not_where_this_one_cannot(means, verdict):
    assert verdict in claim(answer(means))


def test_the_verdict_tells_the_interval_of_the_optimum_and_the_best_place():
    means = {0.4: 103.0, 0.5: 101.0, 0.6: 100.5, 0.7: 100.0, 0.8: 130.0}
    found = optimum({m: noisy(mean, k) for k, (m, mean) in enumerate(means.items())}, "lower", 0.1)
    assert 1 < len(found.candidates) < len(means)
    among = ", ".join(f"{m:g}" for m in found.candidates)
    told = f"**Undecided** over 3 seeds: gFD is best at 0.7; the truth may be at {among} ({found.method})."
    assert claim(answer(means)).endswith(told)


def test_one_seed_decides_nothing():
    found = answer({m: m for m in PAPERS}, noise=(0.0,))
    assert "**Undecided** over 1 seed: gFD is best at 0.4; one seed: no interval." in claim(found)
    assert "One seed cannot tell the range of the optimum" in found.lines()[0]
    assert not any("standard deviation" in line for line in found.lines())


def test_a_claim_about_another_objective_or_other_fields_is_not_tested():
    told = claim(answer({m: m for m in PAPERS}, objective="rfd"))
    assert "**No data**: not measured by gFD: 0.4, 0.5, 0.6, 0.7, 0.8." in told
    told = claim(answer({m: m for m in PAPERS}, fields=(("training.steps", "900"),)))
    assert told.endswith("**Not tested**: this sweep has other fields.")
    share = "tokenizer.masking.semantic_share"
    other = answer({m: m for m in PAPERS}, path=share, space=(f"{share}=0,0.4",))
    assert "**Not tested**: this sweep has another space" in claim(other)
    assert not other.paper_curve(OBJECTIVES["gfd"])


def test_the_optimum_lies_among_the_places_that_seeds_cannot_tell_apart():
    first, noise, *_ = answer({0.0: 300, 0.4: 101, 0.5: 100, 0.7: 100.5, 0.8: 200}).lines()
    assert "best at **M = 0.5**: 100.0 ± 2.5, of 5 points" in first
    assert "M = 0.4; M = 0.7" in first
    assert "M from 0.4 to 0.7" in first
    assert "without what a seed does to all 5 points alike. The means of the points span 200" in noise


def test_places_of_one_printed_mean_are_best_alike():
    equal = {0.4: 103.0, 0.5: 101.0, 0.6: 100.0, 0.7: 100.01, 0.8: 99.99}
    (first, *_), verdict = (found := answer(equal, noise=(0.0,))).lines(), claim(found)
    assert "best at **M = 0.6**, **M = 0.7** and **M = 0.8** alike: 100.0, of 5 points" in first
    assert "gFD is best at 0.6, 0.7 and 0.8 alike; one seed" in verdict
    first, *_ = answer(equal).lines()
    assert "**M = 0.8** alike: 100.0, of 5 points" in first
    first, *_ = answer({m: 100.0 + 100 * (m < 0.7) for m in PAPERS}).lines()
    assert first.startswith("**gFD** is best at **M = 0.7** and **M = 0.8** alike: 100.0, of 5 points. All other")


def test_the_curve_of_the_paper_stands_beside_its_objective_alone():
    found = answer({m: m for m in PAPERS})
    assert found.paper_curve(OBJECTIVES["gfd"])[0.7] == 14.59
    assert found.paper_curve(OBJECTIVES["rfd"])[0.4] == 0.49
    assert found.paper_curve(OBJECTIVES["probe"]) == {}
    assert "gFID of the paper's Table 4 is best at 0.7 (14.59)." in found.lines()


WEIGHTS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def widths(of_kl_vae: list[int], of_mactok: list[int]) -> tuple[str, str]:
    """What is said of two rows that are active at so many of the weights, one number a seed; and the table."""
    seeds = len(of_mactok)
    asked = SweepRequest("kl_weight", study_called("kl_weight"), scale("tiny"), seeds=seeds, rows=("KL-VAE", "mactok"))
    made = []
    for row, counts in (("KL-VAE", of_kl_vae), ("mactok", of_mactok)):
        results = ranges({row: counts}, WEIGHTS)
        for k, weight in enumerate(WEIGHTS):
            here = [r for r in results if flat(r.experiment)[KL_WEIGHT] == weight]
            made.append(TriedPoint(Point(row, ((KL_WEIGHT, weight),)), k, "done", "", here))
    found = Answer(Made(asked, None, None, made))
    return found.verdict(asked.study.claims[0]), found.ranges()


@pytest.mark.parametrize(
    ("of_kl_vae", "of_mactok", "verdict"),
    [
        ([2], [4], "**Undecided** over 1 seed: mactok is active at 4 of 5 values and KL-VAE is active at 2 of 5"),
        ([2, 2, 2], [4, 4, 4], "**Holds** over 3 seeds"),
        ([4, 4, 4], [2, 2, 2], "**Does not hold** over 3 seeds"),
        ([2, 2, 2], [3, 2, 3], "**Undecided** over 3 seeds"),
    ],
)
def test_the_wider_range_is_counted(of_kl_vae, of_mactok, verdict):
    told, _ = widths(of_kl_vae, of_mactok)
    assert verdict in told


def test_the_width_of_a_range_is_a_factor_with_the_interval_of_its_logarithm():
    _, shown = widths([1, 2, 1], [3, 3, 3])
    assert "0.0001 (1 of 3 seeds)" in shown
    logarithms = [0.0, math.log(1e-4 / 3e-5), 0.0]
    high = stats.t.interval(0.95, 2, np.mean(logarithms), stats.sem(logarithms))[1]
    of_kl_vae, of_mactok = (line["width of the active range"] for line in table(f"## here\n{shown}", "here"))
    assert of_kl_vae == f"a factor of {math.exp(np.mean(logarithms)):.3g} [1, {math.exp(high):.3g}]"
    assert of_mactok == "a factor of 10 [10, 10]"


@pytest.mark.parametrize(
    ("active", "width"),
    [(0, "none"), (1, "a factor of 1"), (4, "a factor of 33.3"), (5, "a factor of 100, to the end of the grid")],
)
def test_a_range_that_reaches_the_end_of_the_grid_is_told(active, width):
    _, shown = widths([active], [3])
    assert table(f"## here\n{shown}", "here")[0]["width of the active range"] == width


def test_rank_correlation_takes_three_pairs_that_vary():
    assert intervals.rank_correlation([(1, 1), (2, 2)]) is None
    assert intervals.rank_correlation([(1, 1), (2, 1), (3, 1)]) is None
    assert intervals.rank_correlation([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1)
