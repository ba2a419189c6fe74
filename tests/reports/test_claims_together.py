"""All claims of a study are judged together: families, premises, gates, missing seeds, looks, and their table."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.experiments.claims import Difference, Faster, Level
from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import new_request, study_called
from harness.experiments.scales import scale
from harness.experiments.seeds import looks
from reports.ablation.answer import sentences
from reports.claims.table import lines
from reports.claims.verdicts import DESCRIPTIVE, PREMISE, PRIMARY, Ruling, judge_all, summary
from reports.results import unfinished
from reports.statistics import intervals, power
from reports.statistics.looks import level_of_look
from tests.reports.claimed import NOISY, PROBE, Given, apart, down, equal, given, merged, seeds_of

SEEDS = range(3)


def verdicts(rulings: Sequence[Ruling]) -> dict[str, str]:
    return {r.claim.says: r.verdict for r in rulings}


def test_tokenizers_from_outside_are_no_rows_of_the_paper():
    ours = [given(f"row {k}", seed, probe=k + seed / 9, gfd_unguided=k % 3) for k in range(5) for seed in SEEDS]
    request = new_request("league", scale("smoke"), tokenizers=(OutsideRow("m.py:Theirs", 4, 3, None, "", 0),))
    e = request.experiment(request.study.rows[-1])
    theirs = [
        given("theirs", seed, of=dataclasses.replace(e, seed=seed), probe=50.0, gfd_unguided=-9.0) for seed in SEEDS
    ]
    assert judge_all([PROBE], [*theirs, *ours], {}) == judge_all([PROBE], ours, {})


# Families


def null_studies(studies: int, seed: int) -> list[list[Given]]:
    """Seven rows over three seeds that nothing tells apart."""
    of_rows = np.random.default_rng(seed).normal(100, 5, size=(studies, 7, 3)).tolist()
    return [[r for k, values in enumerate(rows) for r in seeds_of(f"row {k}", "gfd", values)] for rows in of_rows]


@pytest.fixture(scope="module")
def families() -> list[list[Ruling]]:
    """Studies of six claims, each of a row against the one before it, none of them true."""
    stated = [Difference(f"{k}", "Table 5", "gfd", f"row {k + 1}", f"row {k}", -1 if k % 2 else 1) for k in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)  # it takes most of the time of the library's Holm
        return [judge_all(stated, results, {}) for results in null_studies(300, 0)]


def at_most(share: float, studies: int) -> float:
    """What a share comes to in so many studies, with three standard errors."""
    return share + 3 * (share * (1 - share) / studies) ** 0.5


def test_few_studies_have_a_primary_claim_that_is_decided_without_effect(families):
    alone = np.mean([any(r.alone.decided for r in family) for family in families])
    together = np.mean([any(r.decided for r in family) for family in families])
    assert alone > 0.1  # without the family, many studies would have something to tell
    assert together < at_most(0.05, len(families))


def test_a_family_takes_verdicts_back_and_makes_none(families, monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)
    kept = 0
    for family in families:
        adjusted = intervals.holm([r.alone.p for r in family])
        for r, p in zip(family, adjusted, strict=True):
            assert (r.family, r.tests, r.adjusted) == (PRIMARY, 6, p)
            assert r.verdict == (r.alone.verdict if p <= 0.05 else "undecided")
            kept += r.alone.decided and not r.decided
    assert kept > 0


def test_descriptive_claims_and_premises_are_no_part_of_the_family():
    sure = apart((-3.0, -2.5, -3.2))
    (alone,) = judge_all([down()], sure, {})
    others = [dataclasses.replace(down(side=+1), says=f"{k}", primary=False) for k in range(5)]
    found = judge_all([down(), *others], sure, {})
    assert found[0] == alone
    assert {(r.family, r.tests, r.verdict) for r in found[1:]} == {(DESCRIPTIVE, 1, "does not hold")}
    resting = dataclasses.replace(down(), says="resting", premise=down().says)
    first, second = judge_all([down(), resting], sure, {})
    assert (first.family, first.tests, second.family, second.tests) == (PREMISE, 1, PRIMARY, 1)


def test_equality_is_in_the_family_and_weak_differences_beside_strong_ones_are_taken_back():
    rows = {"strong": (-30.0, -31.0, -30.5), "weak": (-3.0, -2.0, -1.6)}
    stated = [dataclasses.replace(down(), says=name, row=name) for name in rows]
    results = seeds_of("base", "gfd", NOISY)
    for name, values in rows.items():
        results += seeds_of(name, "gfd", [b + d for b, d in zip(NOISY, values, strict=True)])
    null = [dataclasses.replace(down(), says=f"null {k}", row=f"null {k}") for k in range(3)]
    for k in range(3):
        results += seeds_of(f"null {k}", "gfd", [99.0 + k, 132.0, 89.5 - k])
    found = {r.claim.says: r for r in judge_all([*stated, *null], results, {})}
    assert (found["strong"].alone.verdict, found["strong"].verdict) == ("holds", "holds")
    assert (found["weak"].alone.decided, found["weak"].decided) == (False, False)
    (margin,) = judge_all([equal()], apart((1.0, -1.0, 2.0), "rfd"), {})
    assert (margin.family, margin.verdict, margin.adjusted) == (PRIMARY, "holds", margin.alone.p)
    assert margin.alone.p < 0.05


# Premises, gates and seeds without a result


@pytest.mark.parametrize(
    ("kept", "premise", "verdict"),
    [((0.0, 0.01, 0.0), "holds", "holds"), ((0.9, 0.95, 0.9), "does not hold", "premise not met"),
     ((0.0, 0.9, 0.1), "undecided", "undecided")],
)  # fmt: skip
def test_nothing_prevents_what_does_not_happen(kept, premise, verdict):
    first = Level("it collapses", "Fig. 1", "probe", "base", 0.2, side=-1)
    second = Difference("this prevents it", "Fig. 1", "probe", "row", "base", +1, premise=first.says)
    results = seeds_of("base", "probe", kept) + seeds_of("row", "probe", (3.0, 3.1, 3.0))
    for claims in ([first, second], [second, first]):
        found = {r.claim.says: r for r in judge_all(claims, results, {})}
        assert (found[first.says].verdict, found[second.says].verdict) == (premise, verdict)
        assert (first.says in found[second.says].because) == (premise != "holds")


def test_what_is_not_tested_is_no_part_of_the_family():
    """A premise that fails and a gate that fails leave more of the level to the others."""
    first = Level("it collapses", "Fig. 1", "probe", "base", 0.2, side=-1)
    resting = [
        Difference(f"this prevents it {k}", "Fig. 1", "probe", "row", "base", +1, premise=first.says) for k in range(4)
    ]
    results = merged(
        [
            *apart((-3.0, -2.5, -3.2)),
            *seeds_of("base", "probe", (3.0, 3.1, 3.0)),
            *seeds_of("row", "probe", (3.0, 3.1, 3.0)),
        ]
    )
    found = judge_all([down(), first, *resting], results, {})
    assert [r.verdict for r in found] == ["holds", "does not hold", *["premise not met"] * 4]
    assert (found[0].tests, found[0].adjusted) == (1, found[0].alone.p)
    found = judge_all([down(), dataclasses.replace(first, threshold=9.0), *resting], results, {})
    assert {r.tests for r in found if r.family == PRIMARY} == {5}


def test_what_a_failed_gate_bars_is_not_measurable():
    results = apart((-3.0, -2.5, -3.2)) + apart((-3.0, -2.5, -3.2), "psnr")
    results = [
        dataclasses.replace(
            r,
            numbers=r.numbers
            | {
                ("generation", "samples", "gfd"): 90.0,
                ("generation", "prior", "gfd"): 90.0 + (-1) ** r.experiment.seed,
            },
        )
        for r in merged(results)
    ]
    gfd, psnr = judge_all([down(), dataclasses.replace(down("psnr"), says="psnr")], results, {})
    assert (gfd.verdict, gfd.alone.verdict, psnr.verdict) == ("not measurable here", "holds", "holds")
    assert "a lower gFD than draws from N(0, I)" in gfd.because
    assert "row" in gfd.because


@pytest.mark.parametrize("row", ["row", "base"])
def test_a_seed_without_a_result_bars_holds_and_is_told(row):
    whole = apart((-3.0, -2.5, -3.2))
    (before,) = judge_all([down()], whole, {})
    assert (before.verdict, before.asked, before.without) == ("holds", 3, ())
    other = "base" if row == "row" else "row"
    (found,) = judge_all([down()], [*whole, given(other, 3, gfd=97.0), given(row, 3, finished=False)], {})
    assert (found.verdict, found.alone.verdict, found.asked) == ("undecided", "holds", 4)
    assert found.without == (f"{row} (seed 3): tokenizer running",)
    (line,) = lines([found])
    assert line["seeds"] == "3 of 4"
    assert f"without {row} (seed 3): tokenizer running" in line["here"]
    (against,) = judge_all([down(side=+1)], [*whole, given(row, 3, finished=False)], {})
    assert against.verdict == "does not hold"  # what is missing could not rescue it


# Stores that are edited to be what a claim is about


TABLE5 = study_called("table5")


def store(kl: Mapping[str, Sequence[float]], gfd: Mapping[str, float], noise: float = 5.0) -> list[Given]:
    """Table 5 over three seeds: KL over the training by row, gFD at the end, steps to a quality that follow gFD."""
    rng = np.random.default_rng(0)
    found = []
    for row in TABLE5.rows:
        for seed in SEEDS:
            value = gfd.get(row.name, 900.0) + float(rng.normal(0, noise))
            curve = {step: value * (1 + 2.0 ** (-step / 100)) for step in range(100, 2100, 100)}
            numbers = {"gfd": value, "classifier_score": 2e4 / value, "probe": 3e4 / value, "gfd_unguided": value}
            found.append(given(row, seed, kl.get(row.name, (1.0, 20.0, 19.0)), gfds=curve, **numbers))
    return found


COLLAPSED, RESCUED = (1.0, 20.0, 0.0), (1.0, 20.0, 20.0)
FOILS = ("KL-VAE", "latent masking")


def test_a_perfect_collapse_and_a_perfect_rescue_are_told_as_what_they_are():
    """All seeds agree to the last digit, which is no reason to know nothing."""
    kl = {row.name: COLLAPSED if row.name in FOILS else RESCUED for row in TABLE5.rows}
    found = verdicts(judge_all(TABLE5.claims, store(kl, {}), {}))
    assert found["the plain KL-VAE collapses"] == "holds"
    assert found["image masking prevents collapse"] == "holds"
    assert found["latent masking does not prevent collapse"] == "holds"
    assert found["latent masking delays collapse"] != "holds"  # both lose it at the same step


def test_without_a_collapse_nothing_is_prevented():
    found = verdicts(judge_all(TABLE5.claims, store(dict.fromkeys((r.name for r in TABLE5.rows), RESCUED), {}), {}))
    assert found["the plain KL-VAE collapses"] == "does not hold"
    for claim in ("image masking prevents collapse", "latent masking delays collapse"):
        assert found[claim] == "premise not met"


def test_a_perfect_generator_is_faster_by_more_than_five_times():
    """Twenty kept points tell twenty times; a curve that is there at the first says so."""
    results = []
    for r in store({}, {}):
        falls = {step: 100.0 + 900.0 * (1 - step / 2000) for step in r.gfds}
        fast = dict.fromkeys(falls, 90.0)
        results.append(dataclasses.replace(r, gfds=fast if r.row.name == "+ global alignment" else falls))
    (found,) = [r for r in judge_all(TABLE5.claims, results, {}) if "fewer steps" in r.claim.says]
    assert found.verdict == "holds"
    assert "20.00 times as fast" in found.alone.here
    assert "at least that in 3 of 3 seeds" in found.alone.here


def test_equal_rows_differ_in_nothing():
    equal_rows = [dataclasses.replace(r, row=row) for row in TABLE5.rows for r in store({}, {})[:3]]
    found = judge_all(TABLE5.claims, equal_rows, {})
    of_rows = [r for r in found if isinstance(r.claim, Difference) and r.claim.quantity != "information_share"]
    assert {r.verdict for r in of_rows} <= {"undecided", "premise not met"}
    assert [r.verdict for r in found if "fewer steps" in r.claim.says] == ["undecided"]


def test_effects_of_three_deviations_are_decided_in_the_family():
    """As large as the noise of a difference three times, over three seeds: gFD falls from row to row."""
    names = [row.name for row in TABLE5.rows][3:]
    gfd = {name: 900.0 - 3 * 5.0 * 2**0.5 * k for k, name in enumerate(names)}
    found = verdicts(judge_all(TABLE5.claims, store({}, gfd), {}))
    assert [verdict for claim, verdict in found.items() if claim.endswith("gFID")][:3] == ["holds"] * 3


# Looks


def test_every_look_has_a_lower_level_and_what_the_first_decides_stands():
    planned = looks(8)
    early = apart((-3.0, -2.5, -3.2)) + [
        g
        for seed, d in ((3, 40.0), (4, 60.0))
        for g in (given("row", seed, gfd=100 + d), given("base", seed, gfd=100.0))
    ]
    (found,) = judge_all([down()], early, {}, planned)
    assert (found.verdict, found.alone.n) == ("holds", 3)
    assert found.level == level_of_look(planned) < 0.05
    assert sentences([found], [], early, "guided")[0].endswith(f"{found.alone.here} over 3 seeds.")
    (without,) = judge_all([down()], early, {})
    assert without.verdict == "undecided"
    between = apart((-3.0, -4.5, -2.2))
    (alone,), (planned_first,) = judge_all([down()], between, {}), judge_all([down()], between, {}, planned)
    assert level_of_look(planned) < alone.adjusted < 0.05
    assert (alone.verdict, planned_first.verdict) == ("holds", "undecided")


# Their table


def test_a_line_tells_effect_family_seeds_power_and_verdict():
    results = merged([*apart((-3.0, -2.5, -3.2)), *apart((0.1, 0.2, 0.4), "rfd")])
    against = dataclasses.replace(down(side=+1), says="more", primary=False)
    told = lines(judge_all([down(), against, equal()], results, {}))
    assert [line["verdict"].partition(" (p")[0] for line in told] == ["**holds**", "**does not hold**", "**holds**"]
    assert [line["family"] for line in told] == ["primary, one of 2", "descriptive", "primary, one of 2"]
    assert [line["seeds"] for line in told] == ["3 of 3"] * 3
    assert told[0]["claim"] == "the row has less (Table 5)"
    (nothing,) = lines(judge_all([down()], [], {}))
    assert (nothing["verdict"], nothing["seeds"], nothing["power"]) == ("no data", "–", "–")


WITHOUT = {  # what is known of the rows of a claim, and why that says nothing
    "no rows": ([], "no row 'row' or 'base' here"),
    "one row": ([given("row", 0, gfd=1.0)], "no row 'base' here"),
    "not run": ([given("row", 0), given("base", 0)], "no seed has results of both rows"),
    "other seeds": ([given("row", 0, gfd=1.0), given("base", 1, gfd=1.0)], "no seed has results of both rows"),
}


def test_the_answer_says_that_rows_of_claims_are_not_on_the_page():
    alone = [given("row", 0, gfd=1.0)]
    claims = [down(), dataclasses.replace(down(), says="the row has far less")]
    for told, absent in ((claims[:1], "1 claim needs"), (claims, "2 claims need")):
        (sentence,) = sentences(judge_all(told, alone, {}), [], alone, "guided")
        assert sentence == f"{absent} rows that this page does not have."
    unmeasured = [given("row", 0), given("base", 0)]
    assert sentences(judge_all([down()], unmeasured, {}), [], unmeasured, "guided") == [
        "Without data: the row has less."
    ]


@pytest.mark.parametrize("case", WITHOUT)
def test_a_claim_without_data_has_no_seeds_and_says_why(case):
    results, why = WITHOUT[case]
    for claim in (down(), equal(), Faster("fewer steps", "Fig. 6b", "row", "base", 2.0)):
        (line,) = lines(judge_all([claim], results, {}))
        assert (line["verdict"], line["seeds"]) == ("no data", "–")
        assert line["here"].startswith(why)


def test_a_claim_on_one_row_and_one_on_many_rows_have_no_data_in_the_same_form():
    kept = Level("collapses", "Fig. 1", "information_kept", "row", 0.1, side=-1)
    for claim, why in ((kept, "no seed has a result"), (PROBE, "fewer than three rows have both numbers")):
        (line,) = lines(judge_all([claim], [given("row", 0)], {}))
        assert (line["verdict"], line["seeds"]) == ("no data", "–")
        assert line["here"].startswith(why)


def test_a_finished_row_without_the_number_is_told_as_not_measured():
    (found,) = judge_all([down()], [given("row", 0, gfd=1.0), given("base", 0)], {})
    assert found.without == ("base (seed 0): not measured",)


def test_seeds_of_a_row_that_lack_the_same_are_told_together():
    results = [given("row", 0, gfd=1.0), *(given("row", seed, finished=False) for seed in (1, 2)), given("base", 0)]
    (found,) = judge_all([down()], results, {})
    assert found.without == ("row (seeds 1, 2): tokenizer running", "base (seed 0): not measured")
    assert unfinished(results) == ["row (seeds 1, 2): tokenizer running."]


def test_power_is_of_the_papers_effect_in_the_family():
    published = {"row": {"gfid": "9.0"}, "base": {"gfid": "10.0"}}
    (found,) = judge_all([down()], apart((-3.0, 0.5, 2.0)), published)
    effect, base = found.alone.effect, float(np.mean(NOISY))
    assert found.alone.published == pytest.approx(-0.1 * base)
    assert found.power == pytest.approx(power.power(0.1 * base, effect.deviation, 3, 2))
    assert lines([found])[0]["power"] == f"{found.power:.0%}"
    assert found.seeds_needed == power.seeds_needed(0.1 * base, effect.deviation, 3, 2)
    assert found.alone.paper == "-1 (-10.0%)"


def test_rows_of_several_statuses_and_values_that_lie_apart_are_told():
    kept = Level("collapses", "Fig. 1", "information_kept", "row", 0.1, side=-1)
    mixed = [given("row", seed, kl) for seed, kl in enumerate((COLLAPSED, RESCUED, COLLAPSED))]
    (found,) = judge_all([kept], mixed, {})
    assert found.oddities[0] == "row is collapsed in 2, active in 1"
    seeds = [*seeds_of("row", "gfd", [11.0, 12.5, 52.0, 12.0]), *seeds_of("base", "gfd", [10.0, 11.5, 11.0, 11.1])]
    (apart_,) = judge_all([down()], seeds, {})
    assert apart_.oddities == ("in gFD seed 2 lies apart: +41.0, other seeds +1.0, +1.0, +0.9",)
    level = Level("little", "Fig. 1", "rfd", "row", 0.1, side=-1)
    (of_level,) = judge_all([level], seeds_of("row", "rfd", [1.28, 1.28, 0.0002]), {})
    assert of_level.oddities == ("in rFD seed 2 lies apart: 0.0, other seeds 1.3, 1.3",)


def test_the_summary_counts_what_is_decided_and_how_many_seeds_would_do():
    strong, weak = apart((-3.0, -2.5, -3.2)), apart((-3.0, 0.5, 2.0), "psnr")
    claims = [down(), dataclasses.replace(down("psnr"), says="psnr"), dataclasses.replace(down("rfd"), says="rfd")]
    told = summary(judge_all(claims, merged([*strong, *weak]), {}))
    assert told.startswith("Of 3 claims 1 is decided, 1 is undecided, 1 has no data")
    assert summary([]) == ""
    assert len(set(itertools.chain(verdicts(judge_all(claims, merged([*strong, *weak]), {})).values()))) == 3
