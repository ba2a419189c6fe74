"""The spaces of sweeps: what is declared fits every scale, and what is asked for is told apart."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections import Counter

import pytest

from harness import cli
from harness.experiments.axis import Axis, axis
from harness.experiments.claims import Best, Wider
from harness.experiments.fields import flat
from harness.experiments.published import published
from harness.experiments.requests import AblationRequest, Point, SweepRequest, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.sweep import Sweep
from harness.planning.plan import Plan, plan_of
from harness.planning.request_log import remember, remembered_requests
from harness.planning.task import task
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake

SWEEPS = [name for name in plugins.names("ablations") if isinstance(study_called(name), Sweep)]
DECLARED = [name for name in SWEEPS if study_called(name).space]
M = "tokenizer.masking.max_ratio"
SHARE = "tokenizer.masking.semantic_share"


def asked_of(name: str, at: str = "tiny", **options: object) -> SweepRequest:
    return SweepRequest(name, study_called(name), scale(at), **options)


def gridded(name: str, at: str = "tiny", **options: object) -> SweepRequest:
    """With every place of its grid."""
    asked = asked_of(name, at, **options)
    return dataclasses.replace(asked, points=tuple(asked.grid()))


def base() -> object:
    return scale("tiny").experiment


# What is declared


def test_the_sweeps_of_the_paper_are_there():
    assert set(DECLARED) >= {"mask_ratio", "mix_ratio", "mask_and_mix", "kl_weight", "tokens", "latent_channels"}
    assert set(SWEEPS) - set(DECLARED) == {"own"}


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize("name", DECLARED)
def test_every_place_of_a_grid_is_an_experiment_of_its_own(name, at):
    asked = asked_of(name, at)
    for found in asked.axes:
        assert found.grid
        assert not found.relative
        if found.continuous:
            assert found.low <= min(found.grid) and max(found.grid) <= found.high
    points = asked.grid()
    assert len(points) == len(asked.chosen_rows()) * len(list(itertools.product(*(a.grid for a in asked.axes))))
    for measured in asked.objectives:
        keys = {task(measured.stage, e).key for point in points for e in asked.experiments_of(point)}
        assert len(keys) == len(points), measured.stage
    names = [asked.row_of(point).name for point in points]
    assert len(set(names)) == len(names)
    for point in (*points, asked.middle()):
        assert asked.point(asked.parameters(point)) == point
        for path, value in point.values:
            assert flat(asked.experiments_of(point)[0])[path] == value


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize("name", DECLARED)
def test_every_end_of_a_range_is_an_experiment(name, at):
    asked = asked_of(name, at)
    ends = [(a.low, a.high) if a.continuous else (min(a.grid), max(a.grid)) for a in asked.axes]
    for corner in itertools.product(*ends):
        values = tuple(zip((a.field for a in asked.axes), corner, strict=True))
        for row in asked.chosen_rows():
            assert plan_of(asked.with_point(Point(row.name, values))).tasks


@pytest.mark.parametrize("name", SWEEPS)
def test_what_a_sweep_says_of_the_paper_fits_its_space(name):
    study = study_called(name)
    rows, grids = {row.name for row in study.rows}, {a.field: set(a.grid) for a in study.space}
    assert set(study.chosen) <= rows
    for claim in study.claims:
        assert claim.field in grids
        if isinstance(claim, Best):
            assert claim.at in claim.among
            assert set(claim.among) <= grids[claim.field]
        if isinstance(claim, Wider):
            assert {claim.row, claim.than} <= rows
    if study.published:
        (grid,) = grids.values()
        assert set(study.published) <= grid
        assert set(study.published.values()) <= set(published(study.published_table))


@pytest.mark.parametrize(
    ("objective", "read"),
    [
        ("probe", ("diagnosis",)),
        ("kl", ("diagnosis",)),
        ("rfd", ("pca", "evaluation")),
        ("gfd", ("pca", "evaluation", "generation")),
        ("probe,gfd", ("pca", "diagnosis", "evaluation", "generation")),
    ],
)
def test_reconstructions_come_with_those_of_principal_components(objective, read):
    """Latents alone are compared with nothing that has to be decoded."""
    asked = asked_of("mask_ratio", objective=objective)
    assert asked.stages(asked.scale.experiment) == read


@pytest.mark.parametrize(
    ("name", "foils"), [("mask_ratio", 1), ("mix_ratio", 1), ("tokens", 4), ("latent_channels", 4)]
)
def test_places_share_principal_components_unless_their_latents_have_other_numbers(name, foils):
    asked = gridded(name, seeds=2, objective="rfd")
    assert Counter(t.stage for t in plan_of(asked).tasks)["pca"] == foils


def counts(planned: Plan, keys: set[str]) -> Counter[str]:
    return Counter(t.stage for t in planned.tasks if t.key in keys)


@pytest.mark.parametrize(("name", "left_out"), [("mask_ratio", {0.0}), ("mix_ratio", {0.25, 0.75})])
def test_what_table4_has_made_is_not_made_again(name, left_out):
    """The published places have the runs of its rows."""
    asked = asked_of(name)
    points = [point for point in asked.grid() if point.values[0][1] not in left_out]
    assert {point.values[0][1] for point in points} == set(asked.study.published)
    planned = plan_of(dataclasses.replace(asked, points=tuple(points)))
    of_table = {t.key for t in plan_of(AblationRequest("table4", study_called("table4"), scale("tiny"))).tasks}
    every = Counter(t.stage for t in planned.tasks)
    assert counts(planned, of_table) == every
    assert every["tokenizer"] == every["generator"] == every["generation"] == len(points)
    assert every["data"] == every["teacher_features"] == 1
    new = {t.stage for t in plan_of(gridded(name)).tasks if t.key not in of_table}
    assert {"tokenizer", "generator"} <= new
    assert not new & {"data", "teacher_features", "reference"}


# Axes


def test_a_relative_axis_follows_its_scale():
    (weight,), (tokens,), (channels,) = (study_called(n).space for n in ("kl_weight", "tokens", "latent_channels"))
    assert base().tokenizer.gaussian.kl_weight == 1e-4
    assert weight.of(base()).grid == (1e-5, 3.33e-5, 1e-4, 3.33e-4, 1e-3)  # three digits
    assert (weight.of(base()).low, weight.of(base()).high) == (1e-5, 1e-3)
    of_scale = base().tokenizer.tokens
    assert tokens.of(base()).grid == (of_scale / 4, of_scale / 2, of_scale, 2 * of_scale)
    assert channels.of(scale("smoke").experiment).grid == (1, 2, 4, 8)
    assert all(isinstance(value, int) for value in tokens.of(base()).grid)
    with pytest.raises(Mistake, match=rf"tokenizer\.tokens = {of_scale / 10}: .*a whole number"):
        Axis("tokenizer.tokens", "L", grid=(0.1, 1), relative=True).of(base())


def test_an_axis_has_the_type_of_its_field():
    share = Axis(SHARE, "share", grid=(0, 1), low=0, high=1).of(base())
    assert all(isinstance(value, float) for value in (*share.grid, share.low, share.high))
    whole = Axis("tokenizer.tokens", "L", low=4.0, high=16.0).of(base())
    assert all(isinstance(value, int) for value in (whole.low, whole.high))
    assert Axis(M, "M", grid=(0.1, 0.1, 0.3)).of(base()).grid == (0.1, 0.3)


AXES = {
    "masking.max_ratio=0:0.9": Axis(M, "masking.max_ratio", low=0, high=0.9),
    "tokenizer.masking.max_ratio=0.1:0.9:log": Axis(M, "masking.max_ratio", low=0.1, high=0.9, log=True),
    "masking.max_ratio=0.1,0.3": Axis(M, "masking.max_ratio", grid=(0.1, 0.3)),
    " masking.max_ratio = 0.1, 3e-1": Axis(M, "masking.max_ratio", grid=(0.1, 0.3)),
    "tokens=4,8": Axis("tokenizer.tokens", "tokens", grid=(4, 8)),
    "training.learning_rate=1e-4:1e-2:log": Axis(
        "training.learning_rate", "training.learning_rate", low=1e-4, high=1e-2, log=True
    ),
}


@pytest.mark.parametrize("given", AXES)
def test_an_axis_is_read_from_the_command(given):
    assert axis(given) == AXES[given]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("masking.max_ratio", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=a,b", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=0:nan", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=0:inf", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=0:1:lin", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=0.1,0.3:log", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=:0.5", "FIELD=LOW:HIGH"),
        ("masking.max_ratio=0:0.5:1", "two ends"),
        ("masking.max_ratio=0.9:0.1", "the lower one first"),
        ("masking.max_ratio=0.5:0.5", "the lower one first"),
        ("masking.max_ratio=0:0.5:log", "above 0"),
    ],
)
def test_an_axis_that_means_nothing_is_refused(given, expected):
    with pytest.raises(Mistake, match=expected):
        axis(given)


def test_no_two_numbers_of_an_experiment_have_one_name():
    """Parameters of Optuna, and pages, call a field by it."""
    numbers = [p for p, v in flat(base()).items() if isinstance(v, int | float) and not isinstance(v, bool)]
    names = Counter(axis(f"{path}=0:1").name for path in numbers)
    assert [name for name, count in names.items() if count > 1] == []


# What is asked


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rows": ("mactok", "kl_vae")}, r"alignment\.weight has no influence on the row 'kl_vae'"),
        ({"fields": (("alignment.weight", "2"),)}, "is swept: --set cannot fix it"),
        ({"fields": (("latent_masking.max_ratio", "0.5"),)}, "no influence on any of these rows"),
        ({"space": ("masking.max_ratio=0:1", "tokenizer.masking.max_ratio=0,1")}, "a field twice"),
        ({"space": ()}, "--space FIELD=LOW:HIGH"),
    ],
)
def test_a_space_that_does_not_go_with_the_rest_is_refused(options, expected):
    space = {"space": ("alignment.weight=0.1,1",)}
    assert [a.grid for a in asked_of("own", **space).axes] == [(0.1, 1.0)]
    asked = asked_of("own", **space | options)
    with pytest.raises(Mistake, match=expected):
        asked.grid()


def test_a_range_alone_is_no_grid():
    with pytest.raises(Mistake, match="has a range and no grid"):
        asked_of("own", space=("masking.max_ratio=0:0.9", "masking.semantic_share=0,1")).grid()


def test_rows_are_named_where_there_are_several():
    asked = asked_of("kl_weight", rows=("KL-VAE", "alignment only"))
    names = [asked.row_of(point).name for point in asked.grid()]
    assert len(names) == 10
    assert names[0] == "KL-VAE, KL weight = 1e-05"
    assert names[-1] == "alignment only, KL weight = 0.001"
    alone = asked_of("kl_weight", rows=("KL-VAE",))
    assert alone.row_of(alone.grid()[0]).name == names[0]
    asked = asked_of("mask_ratio")
    assert [asked.row_of(point).name for point in asked.grid()][:2] == ["M = 0", "M = 0.4"]
    assert asked_of("own", space=("tokens=4,8",)).chosen_rows() == [study_called("own").row("mactok")]


def test_the_name_of_a_row_comes_before_the_variant_of_others():
    """Alignment only is a `mactok` too, without its masks."""
    assert [row.name for row in asked_of("kl_weight", rows=("mactok",)).chosen_rows()] == ["mactok"]


def test_pages_differ_by_what_is_asked():
    different = [
        {},
        {"objective": "rfd"},
        {"objective": "rfd,kl"},
        {"seeds": 2},
        {"data": "embedded"},
        {"space": ("masking.max_ratio=0:0.5",)},
        {"space": ("masking.max_ratio=0.1:0.5",)},
        {"space": ("masking.max_ratio=0.1:0.5:log",)},
        {"space": ("masking.max_ratio=0,0.5",)},
        {"fields": (("training.steps", "500"),)},
        {"fields": (("training.steps", "600"),)},
        {"rows": ("random masks",)},
    ]
    pages = [asked_of("mask_ratio", **options).page for options in different]
    pages += [asked_of("mask_ratio", "smoke").page, asked_of("mix_ratio").page]
    assert len(set(pages)) == len(pages), pages
    assert pages[:4] == [
        "mask_ratio-tiny-gfd",
        "mask_ratio-tiny-rfd",
        "mask_ratio-tiny-rfd-kl",
        "mask_ratio-tiny-gfd-2-seeds",
    ]
    how = {"points": tuple(asked_of("mask_ratio").grid()), "words": ("--sampler", "tpe", "--trials", "30")}
    assert asked_of("mask_ratio", **how).page == pages[0]
    assert asked_of("mask_ratio", objective="gfd").page == pages[0]


ASKED = {
    "plain": {},
    "objectives": {"objective": "rfd,kl"},
    "space": {"space": ("masking.max_ratio=0.1:0.5:log", "masking.semantic_share=0,1")},
    "rest": {"seeds": 3, "data": "embedded", "rows": ("random masks",), "fields": (("training.steps", "500"),)},
}


@pytest.mark.parametrize("case", ASKED)
def test_the_command_of_what_was_asked_asks_the_same(case):
    asked = asked_of("mask_ratio", **ASKED[case])
    parser = cli.parser("sweep", "")
    cli.add_study(parser)
    cli.add_sweep(parser)
    words = shlex.split(asked.command)
    assert words[:3] == ["python", "-m", "harness.sweep"]
    assert cli.request_of(parser.parse_args(words[3:])) == asked


@pytest.mark.parametrize("case", ASKED)
def test_what_was_asked_comes_back_with_all_its_points(case, tmp_path):
    store, asked = Store(tmp_path), asked_of("mask_ratio", **ASKED[case])
    paths = [a.field for a in asked.axes]
    points = [Point("random masks", tuple((path, value) for path in paths)) for value in (0.1, 0.3, 0.5)]
    for tried in (points[:2], points[1:]):
        remember(dataclasses.replace(asked, points=tuple(tried)), store)
    (found,) = remembered_requests(store)
    assert found.plan is not None, found.trouble
    assert found.plan.request == dataclasses.replace(asked, points=tuple(points))
    assert (found.page, found.command) == (asked.page, asked.command)
    wanted = {t.key for t in found.plan.tasks if t.stage == "tokenizer"}
    assert wanted == {task("tokenizer", e).key for point in points for e in asked.experiments_of(point)}
    assert len(wanted) == 3 * asked.seeds
