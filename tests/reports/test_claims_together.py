"""All claims of a study are judged together, with Holm's correction, and stand in a table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.experiments.claims import Difference
from reports.claims.judge import Judgement, judge, judge_all
from reports.claims.table import lines
from reports.statistics import intervals
from tests.reports.claimed import (
    BEST,
    NOISY,
    PROBE,
    TRIED,
    WIDER,
    Given,
    apart,
    down,
    equal,
    merged,
    places,
    ranges,
    seeds_of,
)


def null_studies(studies: int, seed: int) -> list[list[Given]]:
    """Seven rows over three seeds that nothing tells apart."""
    of_rows = np.random.default_rng(seed).normal(100, 5, size=(studies, 7, 3)).tolist()
    return [[r for k, values in enumerate(rows) for r in seeds_of(f"row {k}", "gfd", values)] for rows in of_rows]


@pytest.fixture(scope="module")
def families() -> list[list[Judgement]]:
    """Studies of six claims, each of a row against the one before it, none of them true."""
    stated = [Difference("less", "Table 5", "gfd", f"row {k + 1}", f"row {k}", -1 if k % 2 else 1) for k in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "smallest_detectable", lambda _: None)  # it takes most of the time
        return [judge_all(stated, results, {}) for results in null_studies(300, 0)]


def at_most(share: float, studies: int) -> float:
    """What a share comes to in so many studies, with three standard errors."""
    return share + 3 * (share * (1 - share) / studies) ** 0.5


def test_of_claims_without_effect_few_hold(families):
    for k in range(6):
        assert np.mean([family[k].verdict == "holds" for family in families]) < at_most(0.025, len(families))
        assert np.mean([family[k].verdict == "does not hold" for family in families]) < at_most(0.025, len(families))
    found = [judgement.verdict for family in families for judgement in family]
    assert 0.015 < found.count("holds") / len(found) < 0.035


def test_after_holm_few_studies_have_any_claim_that_holds_without_effect(families):
    def any_of(name: str) -> float:
        return np.mean([any(getattr(j, name) not in ("undecided", "no data") for j in family) for family in families])

    assert any_of("verdict") > 0.15  # without it, one study in five would have something to tell
    assert any_of("after_holm") < at_most(0.05, len(families))


def test_holm_takes_verdicts_back_and_makes_none(families):
    kept = 0
    for family in families:
        adjusted = intervals.holm([judgement.p for judgement in family])
        for judgement, p in zip(family, adjusted, strict=True):
            assert judgement.after_holm == (judgement.verdict if p <= 0.05 else "undecided")
            kept += judgement.verdict != "undecided" == judgement.after_holm
    assert kept > 0


def test_holm_leaves_alone_what_is_of_no_test():
    """A margin, a best place, what has no data or one seed: they neither change nor make the family larger."""
    sure = apart((-3.0, -2.5, -3.2), "gfd")
    alone = judge_all([down()], sure, {})
    others = [equal(), BEST, WIDER, PROBE, Difference("less", "Table 5", "psnr", "row", "base", -1)]
    results = [*sure, *apart((1.0, -1.0, 2.0), "rfd"), *places({m: 100.0 + 100 * (m != 0.7) for m in TRIED})]
    results = merged(results) + ranges({"KL-VAE": (2, 2, 2), "mactok": (3, 4, 3)})
    found = judge_all([down(), *others], results, {})
    assert found[0] == alone[0]
    assert [(j.verdict, j.after_holm) for j in found[1:]] == [
        ("holds", "holds"),
        ("holds", "holds"),
        ("holds", "holds"),
        ("no data", "no data"),
        ("no data", "no data"),
    ]
    assert [j.p for j in found[1:]] == [None] * 5


def test_a_weak_difference_among_strong_ones_is_taken_back():
    rows = {"strong": (-30.0, -31.0, -30.5), "weak": (-3.0, -2.0, -1.6)}
    stated = [dataclasses.replace(down(), row=name) for name in rows]
    results = seeds_of("base", "gfd", NOISY)
    for name, values in rows.items():
        results += seeds_of(name, "gfd", [b + d for b, d in zip(NOISY, values, strict=True)])
    null = [dataclasses.replace(down(), row=f"null {k}") for k in range(3)]
    for k in range(3):
        results += seeds_of(f"null {k}", "gfd", [99.0 + k, 132.0, 89.5])
    found = {j.claim.row: j for j in judge_all([*stated, *null], results, {})}
    assert (found["strong"].verdict, found["strong"].after_holm) == ("holds", "holds")
    assert 0.05 / 4 < found["weak"].p < 0.05
    assert (found["weak"].verdict, found["weak"].after_holm) == ("holds", "undecided")


def test_a_line_of_the_table_tells_verdicts_in_bold_and_holm_where_there_is_a_test():
    results = merged([*apart((-3.0, -2.5, -3.2)), *apart((0.1, 0.2, 0.4), "rfd")])
    told = lines([*judge_all([down(), down(side=+1), equal()], results, {}), judge(BEST, [], {})])
    assert [line["verdict"] for line in told] == ["**holds**", "**does not hold**", "**holds**", "no data"]
    assert [line["by Holm"] for line in told] == ["holds", "does not hold", "–", "–"]
    assert [line["N"] for line in told] == ["3", "3", "3", "–"]
    assert told[0]["claim"] == "the row has less (Table 5)"
