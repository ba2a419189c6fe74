"""Every claim is about something that there is, and it is what its paper printed."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from decimal import Decimal
from types import SimpleNamespace
from typing import get_args

import pytest

from harness.evaluation import collapse
from harness.experiments.claims import AlmostEqual, Best, Claim, Correlated, Difference, Faster, Level, Wider
from harness.experiments.fields import differences, flat
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.published import PUBLISHED, published
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import SCALES, scale
from harness.experiments.sweep import Sweep
from harness.planning.task import task
from harness.system import plugins
from reports.claims import quantities
from reports.claims.judge import PUBLISHED_AS, judge
from reports.claims.quantities import DERIVED
from reports.statistics import intervals
from tests.conftest import experiment
from tests.reports.claimed import (
    ABLATIONS,
    CLAIMED,
    MAX_RATIO,
    STUDIES,
    TRIED,
    given,
)

# What is declared


def rows_named(claim: Claim) -> list[str]:
    return [getattr(claim, name) for name in ("row", "than") if hasattr(claim, name)]


def quantities_named(claim: Claim) -> list[str]:
    return [getattr(claim, name) for name in ("quantity", "one", "other") if hasattr(claim, name)]


def test_no_claim_stands_twice_beside_a_study():
    assert len(CLAIMED) == sum(len(study.claims) for study in STUDIES.values())


@pytest.mark.parametrize("case", CLAIMED)
def test_a_premise_is_another_claim_of_the_study_that_has_none_itself(case):
    name, claim = CLAIMED[case]
    if claim.premise:
        (premise,) = [other for other in STUDIES[name].claims if other.says == claim.premise]
        assert not premise.premise


@pytest.mark.parametrize("case", CLAIMED)
def test_a_claim_is_about_something_that_there_is(case):
    name, claim = CLAIMED[case]
    study = STUDIES[name]
    rows, printed = {row.name for row in study.rows}, set(published(study.published_table))
    named = rows_named(claim)
    assert set(named[:1]) <= rows, "what is claimed is claimed of a row of the study"
    assert set(named[1:]) <= (rows | printed if isinstance(claim, Difference) else rows)
    assert len(set(named)) == len(named)
    for known in quantities_named(claim):
        assert known in DERIVED or known in plugins.names("harness.evaluation.metrics")
        assert quantities.title(known)
        assert quantities.digits(known, [SimpleNamespace(experiment=experiment())]) >= 0
    assert getattr(claim, "side", 1) in (-1, 1)
    assert re.match(r"(Tables? \d|Fig\. \d|App\. [A-Z])", claim.source)
    assert claim.says


@pytest.mark.parametrize("case", [case for case, (_, claim) in CLAIMED.items() if isinstance(claim, AlmostEqual)])
def test_a_margin_is_a_share_and_has_a_reason(case):
    _, claim = CLAIMED[case]
    assert 0 < claim.margin < 0.2
    assert claim.because


@pytest.mark.parametrize("case", [case for case, (_, claim) in CLAIMED.items() if isinstance(claim, Best | Wider)])
def test_a_claim_about_a_field_stands_beside_a_sweep_over_that_field_alone(case):
    """The judge would mix what else is swept, or other rows, into the places of one value."""
    name, claim = CLAIMED[case]
    study = STUDIES[name]
    assert isinstance(study, Sweep)
    assert [axis.field for axis in study.space] == [claim.field]
    if isinstance(claim, Best):
        assert len(study.rows) == 1
        assert claim.at in claim.among
        assert OBJECTIVES[claim.objective].metric == study.objective
    else:
        assert not any("," in row.name for row in study.rows), "names of places begin with the row up to a comma"


@pytest.mark.parametrize("case", CLAIMED)
def test_a_claim_names_fields_in_words(case):
    _, claim = CLAIMED[case]
    raw = {path.rpartition(".")[2] for path in flat(scale("tiny").experiment) if "_" in path}
    assert not {name for name in raw if "_" in name} & set(re.findall(r"\w+", claim.says))


@pytest.mark.parametrize("kind", get_args(Claim))
def test_every_kind_of_claim_is_used_and_judged(kind):
    assert kind in {type(claim) for _, claim in CLAIMED.values()}
    assert judge.dispatch(kind) is not judge.dispatch(object)


@pytest.mark.parametrize("case", CLAIMED)
def test_without_results_every_claim_has_no_data(case):
    _, claim = CLAIMED[case]
    assert judge(claim, [], {}).verdict == "no data"


def test_what_nobody_judges_is_refused():
    with pytest.raises(TypeError, match="no judge for"):
        judge("more is better", [], {})


TABLE5 = ("+ random mask", "+ local alignment", "+ semantic mask", "+ global alignment")
OTHERS = ("VA-VAE", "MAETok", "SoftVQ-VAE", "SD-VAE", "MAR-VAE", "l-DeTok")
SHARE = "tokenizer.masking.semantic_share"
MACTOK = [
    # 1. The plain KL-VAE collapses; latent masking delays that, image masking prevents it.
    *(
        ("table5", kind, {"quantity": f"information_{what}", "row": row, "side": side} | rest)
        for kind, what, row, side, rest in (
            (Level, "kept", "KL-VAE", -1, {"threshold": collapse.COLLAPSED_SHARE}),
            (Level, "share", "KL-VAE", -1, {"threshold": collapse.COLLAPSED_SHARE}),
            (Level, "kept", "latent masking", -1, {"threshold": collapse.COLLAPSED_SHARE}),
            (Difference, "lost_at", "latent masking", +1, {"than": "KL-VAE"}),
            (Difference, "kept", "+ random mask", +1, {"than": "KL-VAE"}),
            (Difference, "share", "+ random mask", +1, {"than": "KL-VAE"}),
        )
    ),
    ("collapse", Wider, {"field": "tokenizer.gaussian.kl_weight", "row": "mactok", "than": "KL-VAE"}),
    ("collapse", Wider, {"field": "tokenizer.gaussian.kl_weight", "row": "image masking", "than": "KL-VAE"}),
    ("kl_weight", Wider, {"field": "tokenizer.gaussian.kl_weight", "row": "mactok", "than": "KL-VAE"}),
    ("tokens", Wider, {"field": "tokenizer.tokens", "row": "mactok", "than": "KL-VAE"}),
    # 2. Every part of Table 5 lowers gFID and raises IS.
    *(
        ("table5", Difference, {"quantity": name, "row": row, "than": than, "side": side})
        for than, row in itertools.pairwise(TABLE5)
        for name, side in (("gfd", -1), ("classifier_score", +1))
    ),
    # 3. gFID is best at M = 0.7, and half of the masks semantic are better than none or all.
    ("mask_ratio", Best, {"objective": "gfd", "field": MAX_RATIO, "at": 0.7, "among": TRIED}),
    ("mix_ratio", Best, {"objective": "gfd", "field": SHARE, "at": 0.5, "among": (0.0, 0.5, 1.0)}),
    ("table5", Difference, {"quantity": "classifier_score", "row": TABLE5[-1], "than": TABLE5[0], "side": +1}),
    ("table4", Difference, {"quantity": "gfd", "row": "+ dino 50%", "than": "M=0.7", "side": -1}),
    ("table4", Difference, {"quantity": "gfd", "row": "+ dino 100%", "than": "M=0.7", "side": +1}),
    # 4. Decoder fine-tuning lowers rFID and hardly moves gFID.
    ("table4", Difference, {"quantity": "rfd", "row": "+ decoder fine-tuning", "than": "+ dino 50%", "side": -1}),
    ("table4", AlmostEqual, {"quantity": "gfd", "row": "+ decoder fine-tuning", "than": "+ dino 50%"}),
    # 5. Both tokenizers beat all others of Table 3.
    *(
        ("table3", Difference, {"quantity": "gfd", "row": row, "than": than, "side": -1})
        for row in ("MacTok-128", "MacTok-64")
        for than in OTHERS
    ),
    # 6. to 8.
    ("table5", Correlated, {"one": "probe", "other": "gfd_unguided", "side": -1}),
    ("table5", Faster, {"row": "+ global alignment", "than": "+ random mask", "factor": 6.25}),
    ("table6b", Difference, {"quantity": "rfd", "row": "B", "than": "S", "side": -1}),
    ("table6b", AlmostEqual, {"quantity": "rfd", "row": "BL", "than": "B"}),
]


@pytest.mark.parametrize(("name", "kind", "fields"), MACTOK)
def test_what_mactok_claims_is_declared_once(name, kind, fields):
    declared = [c for c in STUDIES[name].claims if isinstance(c, kind) and dataclasses.asdict(c) | fields == vars(c)]
    assert len(declared) == 1


def test_every_quantity_that_is_derived_is_claimed():
    assert {name for _, claim in CLAIMED.values() for name in quantities_named(claim)} >= set(DERIVED)


def test_the_other_tokenizers_of_table_3_are_all_there():
    assert set(OTHERS) == {name for name in published("3") if not name.startswith("MacTok")}


def printed(name: str, claim: Difference | AlmostEqual) -> tuple[Decimal, Decimal] | None:
    """What the paper's table has for the row and the other, straight from the file."""
    study = STUDIES[name]
    column = {"rfd": "rfid", "gfd": "gfid", "classifier_score": "is"}.get(claim.quantity)
    with (PUBLISHED / "published_ablations.csv").open() as file:
        table = {line["row"]: line for line in csv.DictReader(file) if line["table"] == study.published_table}
    as_published = {row.name: row.published for row in study.rows}
    values = [table.get(as_published.get(row, row), {}).get(column) for row in (claim.row, claim.than)]
    return (Decimal(values[0]), Decimal(values[1])) if all(values) else None


OF_PAIRS = [case for case, (_, claim) in CLAIMED.items() if isinstance(claim, Difference | AlmostEqual)]


@pytest.mark.parametrize("case", OF_PAIRS)
def test_what_is_claimed_is_what_the_paper_printed_and_stands_beside_ours_as_there(case):
    name, claim = CLAIMED[case]
    study = STUDIES[name]
    results = [given(row, 0) for row in study.rows]
    paper = judge(claim, results, published(study.published_table)).paper
    values = printed(name, claim)
    if values is None:
        assert claim.quantity in DERIVED
        assert paper == "–"
        return
    difference, share = values[0] - values[1], (values[0] - values[1]) / values[1]
    if isinstance(claim, Difference):
        assert difference * claim.side > 0
    else:
        assert abs(share) < claim.margin
    absolute, relative = re.fullmatch(r"([+-][\d.]+) \(([+-][\d.]+)%\)", paper).groups()
    assert Decimal(absolute) == difference
    assert float(relative) == pytest.approx(float(100 * share), abs=0.051)


@pytest.mark.parametrize("case", [case for case, (_, claim) in CLAIMED.items() if isinstance(claim, Best)])
def test_the_paper_printed_its_best_where_it_says(case):
    name, claim = CLAIMED[case]
    study = STUDIES[name]
    rows = published(study.published_table)
    curve = {at: float(rows[study.published[at]][PUBLISHED_AS[claim.objective]]) for at in claim.among}
    assert OBJECTIVES[claim.objective].best(curve, key=curve.get) == claim.at


def test_the_figure_of_the_probe_shows_what_is_claimed():
    claim, *same = (claim for _, claim in CLAIMED.values() if isinstance(claim, Correlated))
    assert {other.paper for other in same} <= {claim.paper}
    assert intervals.rank_correlation(claim.paper) * claim.side > 0.5


# Rows that multiply what the scale has


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize("name", ABLATIONS)
def test_every_row_of_every_study_is_an_experiment_at_every_scale(name, at):
    request = AblationRequest(name, STUDIES[name], scale(at), seeds=2)
    by_row = request.experiments()
    assert [row.name for row in by_row] == [row.name for row in request.study.rows]
    every = [e for experiments in by_row.values() for e in experiments]
    keys = {tuple(task(stage, e).key for stage in request.stages(e)) for e in every}
    assert len(keys) == 2 * len(by_row)


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name in ABLATIONS for row in STUDIES[name].rows if row.times], ids=str
)
def test_fields_are_multiplied_and_whole_numbers_stay_whole(name, row, at):
    request = AblationRequest(name, STUDIES[name], scale(at))
    plain, multiplied = (request.experiment(r) for r in (dataclasses.replace(row, times={}), row))
    assert set(differences(plain, multiplied)) == set(row.times)
    before, after = flat(plain), flat(multiplied)
    for path, factor in row.times.items():
        assert type(after[path]) is type(before[path])
        assert after[path] == factor * before[path], "nothing is rounded off"
