"""Requests: fields are laid over one another and checked once, and a request survives JSON."""

from __future__ import annotations

import json
import shlex

import pytest

from harness import cli
from harness.experiments.experiment import Experiment
from harness.experiments.fields import differences, flat
from harness.experiments.requests import AblationRequest, Request, SweepRequest, new_request, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.stored_requests import request_from_json
from harness.experiments.study import Ablation, Row
from harness.system import plugins
from harness.system.errors import Mistake

SHORT = Row("short", "kl_vae", fields={"training.steps": 50})  # the warm-up of `tiny` has 100 steps
HALF = Row("half", "kl_vae", times={"training.steps": 0.05})


def of_rows(*rows: Row, **settings: str) -> AblationRequest:
    """A request for a table of these rows at `tiny`, with fields set as `training__steps="5"`."""
    study = Ablation("A table", "Why?", rows, published_table="")
    fields = tuple((path.replace("__", "."), value) for path, value in settings.items())
    return AblationRequest("made_up", study, scale("tiny"), fields=fields)


@pytest.mark.parametrize("row", [SHORT, HALF], ids=lambda row: row.name)
def test_only_the_experiment_that_is_meant_is_checked(row):
    request = of_rows(row, training__warmup_steps="10")
    (experiment,) = request.experiments()[row]
    assert experiment.training.steps == {SHORT: 50, HALF: scale("tiny").experiment.training.steps / 20}[row]
    assert experiment.training.warmup_steps == 10


def test_an_experiment_that_makes_no_sense_is_refused_in_one_line():
    with pytest.raises(Mistake, match=r"warmup_steps 100 is not below training\.steps 50") as refusal:
        of_rows(SHORT).experiments()
    assert "\n" not in str(refusal.value)


def test_what_the_user_sets_counts_more_than_the_row_and_the_row_more_than_the_scale():
    (experiment,) = of_rows(SHORT, training__steps="60", training__warmup_steps="1").experiments()[SHORT]
    assert experiment.training.steps == 60


def test_a_setting_that_switches_a_part_off_is_heeded_beside_one_that_the_row_needs():
    request = of_rows(SHORT, training__warmup_steps="10", generator__on="false")
    (experiment,) = request.experiments()[SHORT]
    assert not experiment.generator.on


def test_a_setting_that_no_row_heeds_is_refused():
    with pytest.raises(Mistake, match=r"tokenizer\.masking\.max_ratio has no influence"):
        of_rows(SHORT, training__warmup_steps="10", masking__max_ratio="0.5").experiments()


# Rungs


def laddered(*rows: Row, **parts: dict[str, object]) -> dict[str, Experiment]:
    """The experiments by row of a table at `tiny` with these fields and rungs for all rows."""
    request = AblationRequest("made_up", Ablation("A table", "Why?", rows, published_table="", **parts), scale("tiny"))
    return {row.name: experiment for row, (experiment,) in request.experiments().items()}


def test_a_rung_of_a_study_is_one_of_all_its_rows():
    rows, chosen = (Row("plain", "kl_vae"), Row("masked", "image_masking")), {"size": "S", "system": "sit_64"}
    before, after = laddered(*rows), laddered(*rows, rungs=chosen)
    for name in ("plain", "masked"):
        known = flat(before[name])
        others = {path: value for path, value in scale("tiny").rungs(chosen).items() if value != known[path]}
        assert {"tokenizer.encoder.width", "tokenizer.decoder.width", "tokenizer.tokens"} <= set(others)
        assert {path: new for path, (_, new) in differences(before[name], after[name]).items()} == others


def test_what_is_nearer_to_a_row_counts_more():
    """The rung of the row more than that of the study, fields of the study more than rungs, its own more than these."""
    rows = (Row("small", "kl_vae"), Row("large", "kl_vae", rungs={"size": "BL"}))
    found, sizes = laddered(*rows, rungs={"size": "S"}), scale("tiny").ladders["size"]
    widths = {name: sizes[rung]["tokenizer.decoder.width"] for name, rung in (("small", "S"), ("large", "BL"))}
    assert widths["small"] != widths["large"]
    assert {name: e.tokenizer.decoder.width for name, e in found.items()} == widths
    rung, fields = {"system": "sit_64"}, {"tokenizer.tokens": 16}
    own = Row("own", "kl_vae", fields={"tokenizer.tokens": 1})
    assert scale("tiny").rungs(rung)["tokenizer.tokens"] not in (16, 1)
    found = laddered(Row("of all", "kl_vae"), own, rungs=rung, fields=fields)
    assert {name: e.tokenizer.tokens for name, e in found.items()} == {"of all": 16, "own": 1}


def test_a_rung_of_a_study_that_no_scale_has_is_refused():
    with pytest.raises(Mistake, match=r"guidance of scale tiny: 'none'.*each row's"):
        laddered(Row("plain", "kl_vae"), rungs={"guidance": "none"})


def sweep(*space: str, **fields: object) -> SweepRequest:
    request = new_request("own", scale("smoke"), space=space, objective="rfd", **fields)
    assert isinstance(request, SweepRequest)
    return request


def test_axes_may_have_values_that_are_valid_together_only():
    """A width of 48 has no 5 heads and one of 40 no 3, but each has the other."""
    request = sweep("encoder.width=48,40", "encoder.heads=3,5")
    assert [axis.grid for axis in request.axes] == [(48, 40), (3, 5)]
    sound = []
    for point in request.grid():
        try:
            sound.append(tuple(e.tokenizer.encoder for e in request.experiments_of(point)))
        except Mistake:
            continue
    assert {(e.width, e.heads) for (e, *_) in sound} == {(48, 3), (40, 5)}


def test_a_value_that_no_other_axis_saves_is_refused():
    with pytest.raises(Mistake, match="heads"):
        sweep("encoder.width=48,40", "encoder.heads=3,7").axes  # noqa: B018


REQUESTS: list[Request] = [
    new_request(name, at, data="folder:/pictures", fields=(("training.steps", "9"),), rows=("a", "b"), seeds=3)
    for name in plugins.names("ablations")
    for at in SCALES.values()
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r.name}-{r.scale.experiment.scale}")
def test_a_request_is_the_same_after_json(request_):
    again = request_from_json(json.loads(json.dumps(request_.to_json())))
    assert again == request_
    assert (again.page, again.command) == (request_.page, request_.command)


def test_a_request_for_a_sweep_keeps_its_space_and_its_points():
    request = sweep("masking.max_ratio=0.1,0.2", rows=("mactok",))
    for point in request.grid():
        request = request.with_point(point)
    assert request_from_json(json.loads(json.dumps(request.to_json()))) == request


@pytest.mark.parametrize("name", plugins.names("ablations"))
def test_every_study_is_found_by_its_name(name):
    assert study_called(name).title


@pytest.mark.parametrize(
    ("switch", "fields"),
    [
        ("generator.on", ("guidance.scales", "3")),
        ("generator.on", ("sampling.steps", "7")),
        ("masking.on", ("masking.max_ratio", "0.5")),
    ],
    ids=str,
)
def test_settings_of_a_part_that_is_off_are_refused(switch: str, fields: tuple[str, str]) -> None:
    request = new_request("table5", scale("smoke"), rows=("mactok",), fields=((switch, "false"), fields))
    with pytest.raises(Mistake, match=f"{fields[0]} has no influence on any of these rows"):
        request.experiments()
    new_request("table5", scale("smoke"), rows=("mactok",), fields=((switch, "false"),)).experiments()


COMMAS = Ablation("x", "y", (Row("PCA, 32 numbers", "mactok"), Row("PCA", "kl_vae"), Row("a,b,c", "mactok")))
LISTS = {
    "PCA, 32 numbers": ("PCA, 32 numbers",),
    "PCA, 32 numbers,PCA": ("PCA, 32 numbers", "PCA"),
    " PCA ,a,b,c, kl_vae": ("PCA", "a,b,c", "kl_vae"),
    "a,b,PCA,": ("a", "b", "PCA"),
    "PCA, 33 numbers": ("PCA", "33 numbers"),
    ", ,": (),
}


@pytest.mark.parametrize(("text", "names"), LISTS.items())
def test_a_name_with_commas_is_one_name_in_a_list_of_rows(text, names):
    assert COMMAS.names_in(text) == names
    assert COMMAS.names_in(",".join(names)) == names


def test_every_declared_row_can_be_named_alone_and_with_all_others():
    for name in plugins.names("ablations"):
        study = study_called(name)
        rows = tuple(row.name for row in study.rows)
        assert study.names_in(",".join(rows)) == rows
        assert all(study.names_in(row) == (row,) for row in rows)


def test_the_command_of_a_row_with_commas_names_it_again(monkeypatch):
    monkeypatch.setattr("harness.experiments.requests.study_called", lambda *_: COMMAS)
    monkeypatch.setattr("harness.cli.request.study_called", lambda *_: COMMAS)
    request = new_request("mine", scale("smoke"), rows=("PCA, 32 numbers", "PCA"))
    _, _, _, *words = shlex.split(request.command)
    parser = cli.parser("ablate")
    cli.add_study(parser)
    assert cli.request_of(parser.parse_args(words)) == request
