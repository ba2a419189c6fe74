"""Pages whose rows have several data sets: nothing of one is compared with anything of another."""

from __future__ import annotations

import dataclasses

import pytest

from harness.experiments.claims import Claim, Difference, Faster, Level
from harness.experiments.study import Row
from reports.ablation.answer import sentences
from reports.ablation.differences import Differences
from reports.claims.verdicts import judge_all
from reports.mixtures import PER_STAGE, mixtures
from reports.results import Result, by_data_set, data_sets
from reports.tables import head_cells
from tests.conftest import experiment
from tests.reports.claimed import BEST, PROBE, Given, down, equal, given

ONE, FOUR = experiment("mactok"), experiment("mactok", data__argument="objects=4")
COLUMNS = [("rfd", "val", "evaluation"), ("gfd", "guided", "generation")]


def rows(of: object = FOUR, **others: float) -> list[Given]:
    """A row on data `of` and its base on the default ones, with three seeds each."""
    row, base = Row("row", "mactok", base="base"), Row("base", "mactok")
    return [
        given(name, seed, of=e, rfd=value + seed**2, gfd=value, gfd_unguided=value, probe=value, **others)
        for name, e, value in ((row, of, 10.0), (base, ONE, 20.0))
        for seed in range(3)
    ]


def test_the_rows_of_one_data_set_have_no_name_of_it():
    results = rows(of=experiment("mactok", data__flip=False))  # a setting of trainings
    assert data_sets(results) == {}
    assert list(by_data_set(results)) == [""]
    assert head_cells("row", results[:3], results) == {"row": "row"}
    assert not any("data sets" in sentence for sentence in mixtures(results))


def test_several_data_sets_are_told_apart_by_what_differs():
    assert list(by_data_set(rows())) == ["embedded:objects=4", "embedded"]
    fewer = experiment("mactok", data__train_images=128)
    names = [f"embedded, train_images={n}" for n in (128, ONE.data.train_images)]
    assert list(by_data_set(rows(fewer))) == names
    assert "several data sets" in mixtures(rows())[0]


def test_tables_have_a_column_for_it():
    results = rows()
    assert head_cells("row", results[:3], results) == {"row": "row", "images": "`embedded:objects=4`"}


def test_no_difference_is_taken():
    same, other = Differences(rows(ONE), COLUMNS), Differences(rows(), COLUMNS)
    assert same.differences(("row", "base"), "gfd") == [-10.0] * 3
    assert other.differences(("row", "base"), "gfd") == other.differences(("row", "base"), "rfd") == []
    assert other.effects == {}
    assert other.table().count("other images") == len(COLUMNS)


def test_the_number_of_training_images_counts_for_generated_images_alone():
    of = Differences(rows(experiment("mactok", data__train_images=128)), COLUMNS)
    assert of.differences(("row", "base"), "rfd") == [-10.0] * 3
    assert of.differences(("row", "base"), "gfd") == []


LEVEL = Level("it is low", "Table 5", "gfd", "row", 15.0, -1)
FASTER = Faster("it is faster", "Fig. 6b", "row", "base", 2.0)


BY_SEED = dataclasses.replace(BEST, field="seed", among=(0, 1, 2), at=1)


@pytest.mark.parametrize("claim", [down(), down("rfd"), equal(), FASTER, PROBE, BY_SEED])
def test_claims_that_compare_them_cannot_be_measured(claim: Claim):
    results = [dataclasses.replace(r, gfds={100: 3.0, 200: 2.0 - r.experiment.seed / 10}) for r in rows()]
    (ruling,) = judge_all([claim], results, {})
    assert ruling.verdict == "not measurable here"
    assert "embedded:objects=4, embedded" in ruling.alone.here


@pytest.mark.parametrize("claim", [LEVEL, Difference("it keeps more", "Fig. 1", "information_kept", "row", "base", 1)])
def test_others_can(claim: Claim):
    (ruling,) = judge_all([claim], rows(), {})
    assert ruling.verdict != "not measurable here"


def test_contents_that_changed_between_runs_are_told_with_their_rows_and_seeds(monkeypatch):
    """Two stores that were merged: seed 2 was made on other images, and the base of seed 1 too."""
    results = rows(ONE)
    for r in results:
        changed = r.experiment.seed == 2 or (r.experiment.seed == 1 and r.row.name == "base")
        object.__setattr__(r, "contents", ("new",) if changed else ("old",))
    environment = {"data_content": "old", "uncommitted": "", **dict.fromkeys(PER_STAGE, "same")}
    made = [("tokenizer", environment), ("evaluation", environment | {"data_content": "new"})]
    monkeypatch.setattr("reports.mixtures.environments", lambda _: made)
    (sentence,) = mixtures(results)
    assert sentence == (
        "The rows mix contents of the data set: new, old. In detail: new in seed 2 of all rows, base (seed 1); "
        "old in seed 0 of all rows, row (seed 1). Numbers on different images cannot be compared."
    )
    assert Differences(results, COLUMNS).differences(("row", "base"), "gfd") == []
    assert sentences([], [], results, "guided") == ["No row is the best: numbers are equal, or of different images."]
    (ruling,) = judge_all([down()], results, {})
    assert (ruling.verdict, ruling.alone.here.endswith("different images: old, new")) == ("not measurable here", True)
    same_in_pairs = [r for r in results if r.experiment.seed != 1]
    assert judge_all([down()], same_in_pairs, {})[0].verdict != "not measurable here"
    assert len(Differences(same_in_pairs, COLUMNS).differences(("row", "base"), "gfd")) == 2
    for r in results:
        object.__setattr__(r, "contents", ("new",) if r.experiment.seed else ("old",))
    (sentence,) = mixtures(results)
    assert sentence.endswith(
        "Within a seed all rows have the same images, so that differences compare the same images."
    )


def test_the_answer_names_the_best_row_of_each():
    (rfd, gfd) = sentences([], [], [*rows(), *others_of(FOUR)], "guided")
    assert "on `embedded:objects=4` **another" in gfd and "then row" in gfd
    assert "on `embedded` **base" in gfd
    assert rfd.startswith("Lowest rFD: on")


def test_rows_of_one_printed_mean_are_best_alike():
    numbers = {"low": 100.01, "row": 99.99, "third": 300.0}
    results = [given(name, 0, gfd=value) for name, value in numbers.items()]
    assert sentences([], [], results, "guided") == ["Lowest gFD: **row and low alike (100.0)**, then third (300.0)."]
    assert sentences([], [], results[:2], "guided") == [
        "No row is the best: numbers are equal, or of different images."
    ]


def others_of(of: object) -> list[Result]:
    return [given("another", seed, of=of, rfd=9.0, gfd=9.0) for seed in range(3)]
