"""What papers claim: every claim is about something that there is, and the judge finds what the numbers say."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import claims
from harness.evaluation import collapse
from harness.experiments.claims import AlmostEqual, Best, Claim, Correlated, Difference, Faster, Level, Wider
from harness.experiments.experiment import Experiment
from harness.experiments.fields import differences, flat, with_fields
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.published import PUBLISHED, published
from harness.experiments.requests import AblationRequest, SweepRequest, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.study import Ablation, Row
from harness.experiments.sweep import Sweep
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.errors import Mistake
from reports.claims import quantities
from reports.claims.judge import PUBLISHED_AS, Judgement, judge, judge_all, speed_up
from reports.claims.quantities import DERIVED, OF_GENERATION, quantity
from reports.claims.table import lines
from reports.results import Result, load
from reports.statistics import intervals
from reports.statistics.bootstrap import optimum, rank_correlation_interval
from tests.commands.test_cli import command
from tests.conftest import experiment

STUDIES = {name: study_called(name) for name in plugins.names("ablations")}
ABLATIONS = [name for name, study in STUDIES.items() if isinstance(study, Ablation)]
CLAIMED = {f"{name}: {claim.says}": (name, claim) for name, study in STUDIES.items() for claim in study.claims}
STEP = 100  # between two points of a curve


# What is declared


def rows_named(claim: Claim) -> list[str]:
    return [getattr(claim, name) for name in ("row", "than") if hasattr(claim, name)]


def quantities_named(claim: Claim) -> list[str]:
    return [getattr(claim, name) for name in ("quantity", "one", "other") if hasattr(claim, name)]


def test_no_claim_stands_twice_beside_a_study():
    assert len(CLAIMED) == sum(len(study.claims) for study in STUDIES.values())


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
M, SHARE = "tokenizer.masking.max_ratio", "tokenizer.masking.semantic_share"
TRIED = (0.4, 0.5, 0.6, 0.7, 0.8)
MACTOK = [
    # 1. The plain KL-VAE collapses; latent masking delays that, image masking prevents it.
    *(
        ("table5", kind, {"quantity": f"{of}_{what}", "row": row, "side": side} | rest)
        for of in ("kl", "units")
        for kind, what, row, side, rest in (
            (Level, "kept", "KL-VAE", -1, {"threshold": collapse.COLLAPSED_SHARE}),
            (Level, "kept", "latent masking", -1, {"threshold": collapse.COLLAPSED_SHARE}),
            (Difference, "lost_at", "latent masking", +1, {"than": "KL-VAE"}),
            (Difference, "kept", "+ random mask", +1, {"than": "KL-VAE"}),
        )
    ),
    ("kl_weight", Wider, {"field": "tokenizer.gaussian.kl_weight", "row": "mactok", "than": "KL-VAE"}),
    ("tokens", Wider, {"field": "tokenizer.tokens", "row": "mactok", "than": "KL-VAE"}),
    # 2. Every part of Table 5 lowers gFID and raises IS.
    *(
        ("table5", Difference, {"quantity": name, "row": row, "than": than, "side": side})
        for than, row in itertools.pairwise(TABLE5)
        for name, side in (("gfd", -1), ("classifier_score", +1))
    ),
    # 3. gFID is best at M = 0.7, and half of the masks semantic are better than none or all.
    ("mask_ratio", Best, {"objective": "gfd", "field": M, "at": 0.7, "among": TRIED}),
    ("mix_ratio", Best, {"objective": "gfd", "field": SHARE, "at": 0.5, "among": (0.0, 0.5, 1.0)}),
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
    found = [c for c in STUDIES[name].claims if isinstance(c, kind) and dataclasses.asdict(c) | fields == vars(c)]
    assert len(found) == 1


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
    told = judge(claim, results, published(study.published_table)).paper
    values = printed(name, claim)
    if values is None:
        assert claim.quantity in DERIVED
        assert told == "–"
        return
    difference, share = values[0] - values[1], (values[0] - values[1]) / values[1]
    if isinstance(claim, Difference):
        assert difference * claim.side > 0
    else:
        assert abs(share) < claim.margin
    absolute, relative = re.fullmatch(r"([+-][\d.]+) \(([+-][\d.]+)%\)", told).groups()
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
    (claim,) = (claim for _, claim in CLAIMED.values() if isinstance(claim, Correlated))
    assert intervals.rank_correlation(claim.paper) * claim.side > 0.5


# Rows that multiply what the scale has


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize("name", ABLATIONS)
def test_every_row_of_every_study_is_an_experiment_at_every_scale(name, at):
    asked = AblationRequest(name, STUDIES[name], scale(at), seeds=2)
    by_row = asked.experiments()
    assert [row.name for row in by_row] == [row.name for row in asked.study.rows]
    every = [e for experiments in by_row.values() for e in experiments]
    keys = {tuple(task(stage, e).key for stage in asked.stages(e)) for e in every}
    assert len(keys) == 2 * len(by_row)


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name in ABLATIONS for row in STUDIES[name].rows if row.times], ids=str
)
def test_fields_are_multiplied_and_whole_numbers_stay_whole(name, row, at):
    asked = AblationRequest(name, STUDIES[name], scale(at))
    plain, multiplied = (asked.experiment(r) for r in (dataclasses.replace(row, times={}), row))
    assert set(differences(plain, multiplied)) == set(row.times)
    before, after = flat(plain), flat(multiplied)
    for path, factor in row.times.items():
        assert type(after[path]) is type(before[path])
        assert after[path] == factor * before[path], "nothing is rounded off"


# What was measured, made up


@dataclass(frozen=True)
class Given(Result):
    """Numbers by stage, split and metric, and curves, of which every point is `STEP` steps from the one before."""

    numbers: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    training: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gfds: Mapping[int, float] = field(default_factory=dict)
    finished: bool = True

    def done(self, stage: str) -> Run | None:
        return Run(Path(stage) / "0") if self.finished else None

    @property
    def state(self) -> str:
        return "done" if self.finished else "tokenizer running"

    def records(self, stage: str) -> list[Record]:
        found = [Record(m, v, 100, 1, split, "") for (of, split, m), v in self.numbers.items() if of == stage]
        of_curve = [Record("gfd", value, 100, step, "samples", "") for step, value in self.gfds.items()]
        return of_curve if stage == "generator_snapshots" else found

    @property
    def curves(self) -> pd.DataFrame:
        frame = pd.DataFrame(dict(self.training), dtype=float)
        return frame.set_index(frame.index * STEP)


def place(name: str) -> tuple[str, str, str]:
    """Stage, split and metric of a quantity, of a row that is guided."""
    if name == "gfd_unguided":
        return "generation", "samples", "gfd"
    return ("generation", "guided", name) if name in OF_GENERATION else ("evaluation", "val", name)


def given(
    row: str | Row,
    seed: int,
    kl: Sequence[float] = (),
    active: float = 1.0,
    gfds: Mapping[int, float] | None = None,
    finished: bool = True,
    of: Experiment | None = None,
    **numbers: float,
) -> Given:
    """One row and seed with these quantities; `active` is the share of active units at the end."""
    of_row = Row(row, "mactok") if isinstance(row, str) else row
    seeded = dataclasses.replace(experiment("mactok") if of is None else of, seed=seed)
    training = {"val/kl": kl, "val/active_units": [*[1.0] * (len(kl) - 1), active]} if len(kl) else {}
    found = {place(name): value for name, value in numbers.items()}
    return Given(of_row, seeded, {}, found, training, gfds or {}, finished)


def seeds_of(row: str | Row, name: str, values: Sequence[float]) -> list[Given]:
    """A quantity of a row, one value a seed."""
    return [given(row, seed, **{name: value}) for seed, value in enumerate(values)]


def pair(values: Sequence[float], base: Sequence[float], name: str = "gfd") -> list[Given]:
    return seeds_of("row", name, values) + seeds_of("base", name, base)


def down(name: str = "gfd", side: int = -1) -> Difference:
    return Difference("the row has less", "Table 5", name, "row", "base", side)


NOISY = (100.0, 130.0, 90.0)  # of the base: much more than the differences


def apart(differences: Sequence[float], name: str = "gfd") -> list[Given]:
    """Two rows that differ by so much, by seed."""
    base = NOISY[: len(differences)]
    return pair([b + d for b, d in zip(base, differences, strict=True)], base, name)


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


def equal(margin: float = 0.1) -> AlmostEqual:
    return AlmostEqual("nothing more", "Table 6b", "rfd", "row", "base", margin, because="it is a tenth")


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


# Correlated

PROBE = Correlated("they go together", "Fig. 6a", "probe", "gfd_unguided", -1, paper=((50, 14), (41, 20), (30, 37)))


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
    ("one", "other", "times"),
    [
        ({100: 50, 200: 20, 300: 15, 400: 10}, {100: 60, 200: 40, 300: 30, 400: 20}, 2),  # at 20 after 200 of 400
        ({100: 50, 200: 10}, {100: 60, 400: 20}, 400 / 175),  # three quarters of the way from 50 to 10
        ({100: 10, 200: 5}, {100: 40, 400: 20}, 4),  # there at its first point: at least so fast
        ({100: 50, 200: 40}, {100: 60, 200: 20}, 0.75),  # never there: the other is at 40 after 150
        ({100: 50, 200: 40}, {100: 40, 200: 20}, 0.5),
        ({100: 50, 200: 20, 300: 30, 400: 15}, {100: 50, 200: 40, 300: 35, 400: 25}, 400 / (100 + 100 * 25 / 30)),
        ({100: 50, 200: 20}, {100: 50, 200: 20}, 1),
        ({400: 20}, {400: 30}, 1),  # one point says nothing
    ],
)
def test_the_speed_up_by_hand(one, other, times):
    assert speed_up(curve(one), curve(other)) == pytest.approx(times)


def test_the_speed_up_turned_round_is_its_inverse_and_the_unit_of_gfd_does_not_matter():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = (pd.Series(rng.uniform(1, 100, 5), index=[100, 200, 300, 400, 500]) for _ in range(2))
        found = speed_up(one, other)
        assert found > 0
        assert speed_up(other, one) == pytest.approx(1 / found)
        assert speed_up(3 * one + 1, 3 * other + 1) == pytest.approx(found)


def test_a_curve_that_needs_a_fourth_of_the_steps_is_four_times_as_fast():
    steps = np.arange(1, 401)
    fast, slow = (pd.Series(np.exp(-steps / time), index=steps) for time in (25, 100))
    assert speed_up(fast, slow) == pytest.approx(4, rel=1e-3)


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
            speed_up(a.points("gfd", "generator_snapshots"), base[0].points("gfd", "generator_snapshots"))
            for a in falling("row", times)
        ]
        assert found.here.startswith(f"{stats.gmean(ratios):.2f} times as fast")
    if len(set(times)) > 1:
        low, high = np.exp(stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95))
        assert found.here.endswith(f"[{low:.2f}, {high:.2f}]")


def test_curves_with_what_is_no_number_are_left_out():
    results = [*falling("row", (200.0, 220.0, 190.0)), *falling("base", (400.0, 400.0, 400.0))]
    bad = [given("row", 3, gfds={100: 50.0, 200: math.nan}), given("base", 3, gfds={100: 50.0, 200: 40.0})]
    bad += [given("row", 4, gfds={100: 50.0, 200: 40.0}), given("base", 4, gfds={100: math.inf, 200: 40.0})]
    bad += [given("row", 5), given("base", 5, gfds={100: 50.0})]
    assert judge(FASTER, results + bad, {}) == judge(FASTER, results, {})


# Best

BEST = Best("gFID", "gfd", M, at=0.7, among=TRIED, source="Table 4")
NOISE = (-1.0, 0.0, 1.0)


def at(m: float, seed: int, gfd: float) -> Given:
    """Without guidance, as the sweeps are."""
    of = experiment("mactok", guidance__on=False, tokenizer__masking__max_ratio=m)
    return given(f"M = {m:g}", seed, of=of, gfd_unguided=gfd)


def places(means: Mapping[float, float], noise: Sequence[float] = NOISE) -> list[Given]:
    return [at(m, seed, mean + n) for m, mean in means.items() for seed, n in enumerate(noise)]


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
        among = optimum({m: [mean + n for n in NOISE] for m, mean in means.items()}, "lower").candidates
        assert f"the truth may be at {', '.join(f'{m:g}' for m in among)} (" in found.here
        assert re.search(r"covers \d\d % in simulation", found.here)
        assert found.n == 3


def test_the_verdict_of_best_follows_the_interval_of_the_optimum():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        groups = {m: list(rng.normal(2 * (m != 0.7) * rng.uniform(0, 3), 1, 3)) for m in TRIED}
        found = judge(BEST, [at(m, seed, v) for m, values in groups.items() for seed, v in enumerate(values)], {})
        among = optimum(groups, "lower").candidates
        seen.add(found.verdict)
        assert found.verdict == ("does not hold" if 0.7 not in among else "holds" if len(among) == 1 else "undecided")
    assert len(seen) > 1


def test_places_that_the_paper_did_not_try_do_not_count():
    results = places({m: 100.0 + 100 * (m != 0.7) for m in TRIED})
    assert judge(BEST, results + places({0.0: 1.0, 0.75: 2.0}), {}) == judge(BEST, results, {})


def test_one_seed_has_a_best_place_and_decides_nothing():
    found = judge(BEST, places({m: m for m in TRIED}, noise=(0.0,)), {})
    assert (found.verdict, found.n) == ("undecided", 1)
    assert found.here == "gFD is best at 0.4; one seed: no interval"
    alike = judge(BEST, places({m: m for m in TRIED}, noise=(0.0, 0.0)), {})
    assert (alike.verdict, alike.n) == ("undecided", 2)
    assert "seeds that do not differ" in alike.here


def test_what_is_no_number_is_not_measured():
    results = places({m: 100.0 + 100 * (m != 0.7) for m in TRIED})
    assert judge(BEST, [*results, at(0.5, 3, math.nan)], {}) == judge(BEST, results, {})
    gone = [r for r in results if flat(r.experiment)[M] != 0.5]
    assert judge(BEST, [*gone, at(0.5, 0, math.inf)], {}).here.endswith(": 0.5")


# Wider

KL_WEIGHT = "tokenizer.gaussian.kl_weight"
WIDER = Wider(KL_WEIGHT, "mactok", than="KL-VAE", source="Fig. 1")
WEIGHTS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def ranges(counts: Mapping[str, Sequence[int]], weights: Sequence[float] = WEIGHTS) -> list[Given]:
    """Rows that are active at so many of the least weights, one number a seed, and partly or collapsed beyond."""
    return [
        given(
            f"{row}, KL weight = {weight:.6g}",
            seed,
            [0.0, 20.0, 20.0 if k < count else 8.0 if k == count else 0.0],
            of=experiment(row.lower().replace("-", "_"), **{KL_WEIGHT.replace(".", "__"): weight}),
        )
        for row, seeds in counts.items()
        for seed, count in enumerate(seeds)
        for k, weight in enumerate(weights)
    ]


@pytest.mark.parametrize(
    ("kl_vae", "mactok", "verdict"),
    [
        ((2, 2, 2), (3, 4, 3), "holds"),
        ((0, 0, 0), (5, 5, 5), "holds"),
        ((2, 2, 2), (2, 2, 1), "does not hold"),
        ((3, 4, 3), (2, 2, 2), "does not hold"),
        ((2, 2, 2), (3, 2, 3), "undecided"),
        ((2, 2, 2), (3, 1, 3), "undecided"),
        ((0, 0), (5, 5), "undecided"),  # before three seeds nothing is said
        ((0,), (5,), "undecided"),
        ((), (5, 5, 5), "no data"),
    ],
)
def test_wider_takes_three_seeds_that_all_agree(kl_vae, mactok, verdict):
    found = judge(WIDER, ranges({"KL-VAE": kl_vae, "mactok": mactok}), {})
    assert (found.verdict, found.n, found.p) == (verdict, len(kl_vae), None)
    if kl_vae:
        counts = [", ".join(map(str, seeds)) for seeds in (mactok, kl_vae)]
        assert found.here.startswith(f"mactok is active at {counts[0]} of 5 values and KL-VAE is active at {counts[1]}")


def test_only_values_that_both_rows_have_are_counted():
    """Else the row whose sweep is further would have the wider range."""
    few = ranges({"KL-VAE": (1, 1, 1)}, WEIGHTS[:1])
    found = judge(WIDER, few + ranges({"mactok": (5, 5, 5)}), {})
    assert (found.verdict, found.n) == ("does not hold", 3)
    assert "mactok is active at 1, 1, 1 of 1 values" in found.here
    others = ranges({"KL-VAE": (1, 1, 1)}, WEIGHTS[:1]) + ranges({"mactok": (1, 1, 1)}, WEIGHTS[1:])
    assert judge(WIDER, others, {}).verdict == "no data"
    unfinished = [dataclasses.replace(r, finished=False) for r in ranges({"mactok": (5, 5, 5)}, WEIGHTS[1:])]
    assert judge(WIDER, few + ranges({"mactok": (1, 1, 1)}, WEIGHTS[:1]) + unfinished, {}) == found


def test_only_seeds_that_both_rows_have_are_counted():
    found = judge(WIDER, ranges({"KL-VAE": (2, 2, 2), "mactok": (3, 3, 3, 0)}), {})
    assert (found.verdict, found.n) == ("holds", 3)


# All claims together


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


def merged(results: Sequence[Given]) -> list[Given]:
    """The numbers of the same row and seed as one result."""
    found: dict[tuple[Row, int], Given] = {}
    for r in results:
        before = found.get((r.row, r.experiment.seed), r)
        numbers = {**before.numbers, **r.numbers}
        found[r.row, r.experiment.seed] = dataclasses.replace(before, numbers=numbers)
    return list(found.values())


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


# The command


def told(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert claims.main([*words, "--runs", str(runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def of_claims(found: Sequence[Mapping[str, object]], study: str) -> dict[str, Mapping[str, object]]:
    return {str(line["claim"]): line for line in found if line["study"] == study}


def contents(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in place.rglob("*")}


def make(stage: str, of: Experiment, store: Store, records: Sequence[Record] = (), **curves: Sequence[float]) -> Run:
    """A finished run without work; `curves` are logged, `__` in their names for the stroke."""
    planned = task(stage, of)
    run = planned.run_in(store)
    run.begin(planned.identity, {})
    for step, values in enumerate(zip(*curves.values(), strict=True)):
        run.curves.log(STEP * step, {name.replace("__", "/"): v for name, v in zip(curves, values, strict=True)})
    run.finish(list(records), {})
    return run


def experiments_of(row: str, seeds: int, at: str = "smoke") -> list[Experiment]:
    asked = AblationRequest("table5", STUDIES["table5"], scale(at), seeds=seeds)
    return asked.experiments()[asked.study.row(row)]


def collapsing(store: Store, seeds: int = 3, at: str = "smoke") -> list[Run]:
    """The plain KL-VAE of Table 5, whose latents collapse, and one that keeps them."""
    made = []
    for seed in range(seeds):
        ends = {"KL-VAE": (0.1 * seed, 0.02 * seed), "+ random mask": (17.0 - 0.1 * seed, 0.9 - 0.01 * seed)}
        for row, (kl, units) in ends.items():
            of = experiments_of(row, seeds, at)[seed]
            made.append(make("tokenizer", of, store, val__kl=[0.0, 20.0, kl], val__active_units=[0.0, 1.0, units]))
    return made


def test_on_an_empty_store_all_claims_of_all_studies_have_no_data(tmp_path, capsys):
    found = told(tmp_path, capsys)
    assert [(line["study"], line["claim"]) for line in found] == [(n, claim.says) for n, claim in CLAIMED.values()]
    assert {(line["verdict"], line["after_holm"], line["n"], line["p"]) for line in found} == {
        ("no data", "no data", 0, None)
    }
    assert not list(tmp_path.iterdir())


def test_a_table_a_study(tmp_path, capsys):
    assert claims.main(["--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    headed = [name for name, study in STUDIES.items() if study.claims]
    assert re.findall(r"^(\w+) at tiny$", text, re.MULTILINE) == headed
    assert text.count("no data") == len(CLAIMED)
    assert "Detectable" in text
    assert not list(tmp_path.iterdir())
    assert claims.main(["table6b", "guidance", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^(\w+) at tiny$", text, re.MULTILINE) == ["table6b"]
    assert "There are no claims about guidance." in text


MISTAKES = {
    "no store": (["--runs", "nowhere"], "no store at nowhere"),
    "study": (["tabel5"], "Did you mean 'table5'.*Choices: .*table6b"),
    "another study": (["table5", "table9"], "unknown study 'table9'.*Choices: "),
    "scale": (["--scale", "tinny"], "Did you mean 'tiny'.*Choices: smoke, tiny"),
    "data": (["--data", "embeded"], "Did you mean 'embedded'"),
    "option": (["--jsn"], "Did you mean '--json'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, expected = MISTAKES[case]
    (tmp_path / "runs").mkdir()
    with pytest.raises(Mistake, match=expected):
        claims.main(words)
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    done = command("harness.claims", "table5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no store at runs: --runs names its folder\n"
    assert not list(tmp_path.iterdir())


def test_claims_are_judged_without_torch(tmp_path):
    collapsing(Store(tmp_path))
    code = "import sys, harness.claims as c; c.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = ["table5", "table4", "mask_ratio", "kl_weight", "--scale", "smoke", "--runs", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "holds" in {line["verdict"] for line in json.loads(done.stdout)}


def test_what_the_store_holds_is_judged_over_all_its_seeds(tmp_path, capsys):
    store = Store(tmp_path)
    collapsing(store)
    for seed, (worse, better) in enumerate(((100.0, 80.0), (120.0, 99.0))):  # of two of the three seeds
        for row, gfd in (("+ random mask", worse), ("+ local alignment", better)):
            make("generation", experiments_of(row, 2)[seed], store, [Record("gfd", gfd, 160, 40, "guided", "")])
    before = contents(tmp_path)
    found = of_claims(told(tmp_path, capsys, "table5", "--scale", "smoke"), "table5")
    assert contents(tmp_path) == before
    assert {line["scale"] for line in found.values()} == {"smoke"}
    verdicts = {claim: (line["verdict"], line["n"]) for claim, line in found.items() if line["n"]}
    assert verdicts == {
        "the plain KL-VAE collapses, by KL": ("holds", 3),
        "the plain KL-VAE collapses, by units": ("holds", 3),
        "image masking prevents collapse, by KL": ("holds", 3),
        "image masking prevents collapse, by units": ("holds", 3),
        "local alignment lowers gFID": ("holds", 2),
    }
    gfd = found["local alignment lowers gFID"]
    assert gfd["paper"] == "-2.48 (-41.3%)"
    assert gfd["p"] == pytest.approx(stats.ttest_1samp([-20.0, -21.0], 0).pvalue)
    assert gfd["here"].startswith("gFD -20.5 ± 6.4 (-18.6%)")
    tests = [line["p"] for line in found.values()]
    for line, p in zip(found.values(), intervals.holm(tests), strict=True):
        assert line["after_holm"] == (line["verdict"] if p is None or p <= 0.05 else "undecided")
    assert claims.main(["table5", "--scale", "smoke", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(" holds ") >= 4


def test_smoke_is_left_out_unless_it_is_named(tmp_path, capsys):
    collapsing(Store(tmp_path))
    assert {line["scale"] for line in told(tmp_path, capsys, "table5")} == {"tiny"}
    assert {line["verdict"] for line in told(tmp_path, capsys, "table5")} == {"no data"}
    collapsing(Store(tmp_path), at="tiny")
    found = of_claims(told(tmp_path, capsys), "table5")
    assert found["the plain KL-VAE collapses, by KL"]["verdict"] == "holds"


def test_another_data_set_has_results_of_its_own(tmp_path, capsys):
    collapsing(Store(tmp_path))
    for data, verdict in {"embedded": "holds", "folder:elsewhere": "no data"}.items():
        found = of_claims(told(tmp_path, capsys, "table5", "--scale", "smoke", "--data", data), "table5")
        assert found["the plain KL-VAE collapses, by KL"]["verdict"] == verdict


def test_a_training_that_has_not_ended_proves_no_collapse(tmp_path, capsys):
    runs = [run for run in collapsing(Store(tmp_path)) if run.state == "done"]
    for run in runs[2:]:
        run.set_state("running")
    found = of_claims(told(tmp_path, capsys, "table5", "--scale", "smoke"), "table5")[
        "the plain KL-VAE collapses, by KL"
    ]
    assert (found["verdict"], found["n"]) == ("undecided", 1)
    results = load({STUDIES["table5"].row("KL-VAE"): experiments_of("KL-VAE", 3)}, Store(tmp_path))
    assert [quantity(r, "kl_kept") is None for r in results] == [False, True, True]


def test_the_seeds_are_those_of_any_row(tmp_path):
    store = Store(tmp_path)
    asked = AblationRequest("table5", STUDIES["table5"], scale("smoke"))
    assert claims.seeds_in(asked, store) == 0
    runs = collapsing(store, seeds=3)
    assert claims.seeds_in(asked, store) == 3
    runs[2].set_state("failed", "disk full")  # of one row
    assert claims.seeds_in(asked, store) == 3
    runs[3].set_state("failed", "disk full")
    assert claims.seeds_in(asked, store) == 1


def test_the_grid_of_a_sweep_is_judged_where_it_is_all_there(tmp_path, capsys):
    store, study = Store(tmp_path), STUDIES["mix_ratio"]
    asked = SweepRequest("mix_ratio", study, scale("tiny"), seeds=2)
    drawn = random.Random(0)
    for point in asked.grid():
        share = point.values[0][1]
        for of in asked.experiments_of(point):
            make("tokenizer", of, store, val__kl=[0.0, 20.0], val__active_units=[0.0, 1.0])
            gfd = 100 + 50 * (share != 0.5) + drawn.random()
            if share < 1 or of.seed:
                make("generation", of, store, [Record("gfd", gfd, 2048, 800, "samples", "")])
    found = of_claims(told(tmp_path, capsys), "mix_ratio")
    (line,) = found.values()
    assert (line["scale"], line["verdict"], line["n"], line["paper"]) == ("tiny", "holds", 1, "0.5")
    (line,) = of_claims(told(tmp_path, capsys, "mix_ratio", "--data", "folder:elsewhere"), "mix_ratio").values()
    assert line["verdict"] == "no data"


def test_fields_of_rows_are_multiples_of_what_the_data_and_the_scale_say():
    asked = AblationRequest("table3", STUDIES["table3"], scale("tiny"))
    (full,), (half,) = asked.experiments().values()
    assert full.tokenizer.tokens == 2 * half.tokenizer.tokens == scale("tiny").experiment.tokenizer.tokens
    asked = dataclasses.replace(asked, fields=(("training.steps", "900"),))
    assert [of.training.steps for (of,) in asked.experiments().values()] == [900, 900]
    with pytest.raises(Mistake, match="in one field"):  # a number for all rows leaves nothing to compare
        dataclasses.replace(asked, fields=(("tokens", "8"),)).experiments()
    assert with_fields(full, {"tokenizer.tokens": half.tokenizer.tokens}) == half
