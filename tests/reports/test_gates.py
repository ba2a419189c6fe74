"""The gates of a page: each passes, fails or is not measured, by numbers that it names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import pytest

from harness.experiments.experiment import Experiment
from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import new_request, study_called
from harness.experiments.scales import scale
from harness.experiments.study import Ablation, Row
from harness.store.runs import Store
from harness.system import plugins
from reports.ablation.answer import sentences
from reports.gates import Gate, gates, note
from reports.results import load
from tests.conftest import experiment
from tests.reports.claimed import Given, Place, given, measured

COMPONENTS, ROOM, PRIOR, PRECISE, LOSE = 0, 1, 2, 3, -1
STUDIES = {name: study_called(name) for name in plugins.names("ablations")}
ABLATIONS = [name for name, study in STUDIES.items() if isinstance(study, Ablation)]
BASE, OTHER = Row("base", "image_masking"), Row("+ one", "mactok", base="base")


def gate(results: Sequence[Given], which: int) -> Gate:
    return gates(results)[which]


# All of them


@pytest.mark.parametrize("name", ABLATIONS)
def test_nothing_is_measured_where_nothing_has_run(name, tmp_path):
    request = new_request(name, scale("smoke"))
    results = load(request.experiments(), Store(tmp_path))
    found = gates(results)
    assert len(found) == (5 if any(r.experiment.generator.on for r in results) else 2)
    assert {(one.passed, one.measured) for one in found} == {(None, "")}
    variants = {r.row.variant for r in results}
    for one, needed in ((found[COMPONENTS], "autoencoder"), (found[LOSE], "kl_vae")):
        why = "not finished here: `" if needed in variants else f"this page has no row of the variant `{needed}`"
        assert one.lacks.startswith(why)
    assert {one.lacks for one in found[1:-1]} <= {"not finished here: `generation`"}
    assert all(str(one).startswith(f"not measured: {one.condition} ({one.lacks}). If it fails, ") for one in found)


def test_a_stage_that_a_page_does_not_run_is_named():
    for row, of_base in ((BASE, "this page does not run `generation`"), (OTHER, "this page has no base row")):
        of_base_row, *others = (one.lacks for one in gates([given(row, 0, of=experiment("mactok"), psnr=20.0)])[1:-1])
        assert (of_base_row, set(others)) == (of_base, {"this page does not run `generation`"})


def test_what_is_measured_lacks_nothing():
    (found,) = [one for one in gates(precise(0.5)) if one.passed is not None]
    assert not found.lacks


def test_without_a_generator_there_is_none_to_look_at():
    off = measured(BASE, {}, of=experiment("image_masking", generator__on=False))
    generating = gates([off, measured(OTHER, {})])
    assert [one.condition for one in gates([off])] == [generating[k].condition for k in (COMPONENTS, LOSE)]
    assert len(generating) == 5


def test_a_gate_tells_its_numbers_and_only_a_failed_one_what_the_page_cannot_say():
    parts = {"condition": "it is enough", "measured": "2 of 3", "otherwise": "nobody knows"}
    assert str(Gate(passed=True, **parts)) == "passed: it is enough (2 of 3)"
    assert str(Gate(passed=False, **parts)) == "**failed**: it is enough (2 of 3). So, nobody knows"
    assert str(Gate(passed=None, **parts | {"measured": ""})) == "not measured: it is enough. If it fails, nobody knows"


def from_outside(name: str, like: Given, **numbers: float) -> Given:
    """A row with the numbers of another, and others on `val`, of a tokenizer that was not trained here."""
    places: dict[Place, float] = {("evaluation", "val", metric): value for metric, value in numbers.items()}
    request = new_request("league", scale("smoke"), tokenizers=(OutsideRow("theirs.py:Theirs", 4, 3, None, "", 0),))
    e = request.experiment(request.study.rows[-1])
    return measured(Row(name, like.row.variant), {**like.numbers, **places}, of=e)


def test_rows_from_outside_are_not_judged():
    ours = autoencoder(BESIDE)
    theirs = from_outside("mine.py:Pooled", ours, psnr=1.0, rfd=1e6)
    assert gates([theirs, ours]) == gates([ours])
    assert gates([theirs]) == []
    assert note([], False) == "No gate: no tokenizer is trained here"
    base = room(100.0, 10.0)
    assert gates([from_outside("theirs", base), base]) == gates([base])


def test_a_page_counts_its_gates_in_one_way():
    outcomes = (False, True, None, False, None)
    found = [Gate("it is enough", passed, "", "nobody knows") for passed in outcomes]
    assert note(found, False) == "2 of 5 gates failed, 1 passed, 2 not measured"
    assert note(found[1:2], True) == "1 of 1 gate passed; settings that differ from the paper's"
    assert sentences([], found, [], "")[-1].startswith("2 of 5 gates failed, so")


def test_an_answer_has_a_sentence_for_every_gate_that_fails_with_the_rows_that_fail_it():
    results = [measured(BASE, {}), measured(OTHER, {})]
    every, one, whole = (
        Gate("it is enough", False, "", f"the {word} says nothing", rows=rows)
        for word, rows in (("first", (BASE.name, OTHER.name)), ("second", (OTHER.name,)), ("third", ()))
    )
    assert sentences([], [every, one, whole, Gate("", True, "", "all is well")], results, "")[-1] == (
        "3 of 4 gates failed, so this page cannot answer everything. The first says nothing. "
        "In + one, the second says nothing. The third says nothing."
    )


@pytest.mark.parametrize("passed", [True, False, None])
def test_a_gate_says_what_a_deviation_in_its_numbers_is(passed):
    gate = Gate("it is enough", passed, "2 ± 1", "nobody knows", error="± is one")
    assert "it is enough (2 ± 1; ± is one)" in str(gate)


def test_every_deviation_of_a_gate_is_explained():
    """Of all gates of a page that has every number, over seeds and with one seed."""
    for results, over in ((generated((10.0, 12.0, 11.0)), "seeds"), ([one_seed(9.0, samples=1, prior=1)], "images")):
        with_deviations = [gate for gate in gates(results) if "±" in gate.measured]
        assert with_deviations
        assert all(gate.error.startswith(f"± is the standard error over {over}") for gate in with_deviations)
        assert not any(gate.error for gate in gates(results) if "±" not in gate.measured)


# Principal components


AUTOENCODER = Row("autoencoder", "autoencoder")
BESIDE: dict[tuple[str, str], tuple[float, float]] = {  # of the autoencoder, and of principal components
    ("psnr", "val"): (20.0, 18.0),
    ("psnr", "val_unseen"): (19.0, 17.5),
    ("rfd", "val"): (90.0, 120.0),
}


def autoencoder(beside: Mapping[tuple[str, str], tuple[float, float]], seed: int = 0) -> Given:
    numbers: dict[Place, float] = {}
    for (metric, split), (own, foil) in beside.items():
        numbers |= {("evaluation", split, metric): own, ("pca", split, metric): foil}
    return measured(AUTOENCODER, numbers, seed, of=experiment("autoencoder"))


def test_the_autoencoder_beats_principal_components_in_all_that_is_measured():
    found = gate([autoencoder(BESIDE)], COMPONENTS)
    assert found.passed is True
    assert found.measured == (
        "PSNR on val 20.00 against 18.00; PSNR on val_unseen 19.00 against 17.50; rFD on val 90.0 against 120.0"
    )
    seen = {place: pair for place, pair in BESIDE.items() if place != ("psnr", "val_unseen")}
    assert gate([autoencoder(seen)], COMPONENTS).passed is True  # a folder of images has no unseen objects


@pytest.mark.parametrize("place", BESIDE, ids=" of ".join)
@pytest.mark.parametrize("by", [0.0, 1.0])
def test_below_a_linear_model_in_anything_is_below_it(place, by):
    _, foil = BESIDE[place]
    worse = foil + by if place[0] == "rfd" else foil - by
    found = gate([autoencoder(BESIDE | {place: (worse, foil)})], COMPONENTS)
    assert found.passed is False
    assert "So, the networks are worse than a linear model" in str(found)


def test_components_are_beaten_by_the_mean_over_seeds():
    apart = [autoencoder({("psnr", "val"): (own, 18.0)}, seed) for seed, own in enumerate((17.0, 19.5))]
    found = gate(apart, COMPONENTS)
    assert (found.passed, found.measured) == (True, "PSNR on val 18.25 against 18.00")
    assert gate(apart[:1], COMPONENTS).passed is False


def test_no_other_row_stands_for_the_autoencoder():
    """A row with a KL is not trained to reconstruct alone, and one of its halves says nothing without the other."""
    numbers = {("evaluation", "val", "psnr"): 20.0, ("pca", "val", "psnr"): 18.0}
    assert gate([measured(Row("autoencoder", "kl_vae"), numbers)], COMPONENTS).passed is None
    for place in numbers:
        assert gate([measured(AUTOENCODER, {place: 20.0})], COMPONENTS).passed is None


# Room between the decoder and the generator


def room(own: float, floor: float, split: str = "guided", row: Row = BASE, of: Experiment | None = None) -> Given:
    numbers = {("generation", split, "gfd"): own, ("generation", "reconstructions", "gfd"): floor}
    return measured(row, numbers, of=of)


@pytest.mark.parametrize(("floor", "passed"), [(49.9, True), (50.0, False), (120.0, False)])
def test_reconstructions_have_less_than_half_of_the_distance(floor, passed):
    other = room(1000.0, 1.0, row=OTHER)
    for results in ([room(100.0, floor), other], [other, room(100.0, floor)]):
        found = gate(results, ROOM)
        assert (found.passed, found.measured) == (passed, f"base: {floor} against 100.0")
        assert ("So, the decoder makes most of gFD" in str(found)) == (not passed)


def test_the_samples_are_those_with_guidance_if_there_is_any():
    unguided = experiment("image_masking", guidance__on=False)
    assert gate([room(100.0, 10.0, "samples", of=unguided)], ROOM).passed is True
    assert gate([room(100.0, 10.0, "samples")], ROOM).passed is None
    assert gate([room(100.0, 10.0, of=unguided)], ROOM).passed is None


def test_the_base_is_the_row_that_others_name_or_the_first():
    first, second = (room(100.0, floor, row=Row(name, "mactok")) for name, floor in (("first", 10.0), ("second", 90.0)))
    assert gate([first, second], ROOM).measured == "first: 10.0 against 100.0"
    based = dataclasses.replace(second, row=Row("third", "mactok", base="second"))
    found = gate([first, second, based], ROOM)
    assert (found.passed, found.measured) == (False, "second: 90.0 against 100.0")
    assert gate([dataclasses.replace(first, row=OTHER)], ROOM).passed is None  # its base is not here


# The generator and N(0, I)


def generated(gains: Sequence[float], row: Row = BASE) -> list[Given]:
    """A seed a gain over N(0, I), whose gFD differs much more between seeds than the gains do."""
    priors = [300.0 + 70 * (-1) ** seed for seed in range(len(gains))]
    return [
        measured(row, {("generation", "prior", "gfd"): prior, ("generation", "samples", "gfd"): prior - gain}, seed)
        for seed, (prior, gain) in enumerate(zip(priors, gains, strict=True))
    ]


@pytest.mark.parametrize(
    ("gains", "passed", "text"),
    [
        ((10.0, 12.0, 11.0), True, "base by 11.0 ± 0.6"),
        ((3.0, 1.25), True, "base by 2.1 ± 0.9"),
        ((3.0, 1.0), False, "base by 2.0 ± 1.0 fails"),  # border: two standard errors
        ((30.0, -10.0, 12.0), False, "base by 10.7 ± 11.6 fails"),
        ((-10.0, -12.0, -11.0), False, "base by -11.0 ± 0.6 fails"),
        ((0.0, 0.0), False, "base by 0.0 ± 0.0 fails"),
    ],
)
def test_a_generator_beats_its_prior_by_two_standard_errors_over_seeds(gains, passed, text):
    """Paired by seed: the rest of what seeds differ in says nothing."""
    found = gate(generated(gains), PRIOR)
    assert (found.passed, found.measured) == (passed, text)


def test_every_row_has_to_beat_its_prior_and_those_that_do_not_are_named():
    found = gate([*generated((10.0, 12.0, 11.0)), *generated((3.0, 1.0), OTHER)], PRIOR)
    assert (found.passed, found.measured) == (False, "base by 11.0 ± 0.6; + one by 2.0 ± 1.0 fails")
    assert "So, the samples say nothing about the generator" in str(found)
    unmeasured = [*generated((10.0, 12.0, 11.0)), given(OTHER, 0)]
    assert gate(unmeasured, PRIOR).measured == "base by 11.0 ± 0.6"


def one_seed(gain: float, **halves: float) -> Given:
    """One seed, whose distances for infinitely many images have 95 % intervals of these halves."""
    numbers = {("generation", "prior", "gfd"): 300.0, ("generation", "samples", "gfd"): 300.0 - gain}
    distances = {("generation", split, "gfd_infinity"): 280.0 for split in halves}
    intervals = {place: (280 - halves[place[1]], 280 + halves[place[1]]) for place in distances}
    return measured(BASE, numbers | distances, intervals=intervals)


@pytest.mark.parametrize(("gain", "passed"), [(5.1, True), (4.9, False), (-50.0, False)])
def test_one_seed_is_held_against_the_error_over_images(gain, passed):
    """Of both sets: standard errors of 2 and 1.5 are one of 2.5."""
    found = gate([one_seed(gain, samples=2 * 1.96, prior=1.5 * 1.96)], PRIOR)
    assert (found.passed, found.measured) == (passed, f"base by {gain:.1f} ± 2.5{'' if passed else ' fails'}")


def test_one_seed_without_a_known_error_is_not_measured():
    for found in (one_seed(200.0), one_seed(200.0, samples=1.0), one_seed(200.0, prior=1.0)):
        assert gate([found], PRIOR).passed is None


def test_the_error_over_images_is_that_of_the_seed_that_was_measured():
    known = {"samples": 1.0, "prior": 1.0}
    assert (
        gate([given(BASE, 7), one_seed(200.0, **known)], PRIOR).measured
        == gate([one_seed(200.0, **known)], PRIOR).measured
    )


def test_only_seeds_with_both_sets_are_compared():
    samples_alone = measured(BASE, {("generation", "samples", "gfd"): 1.0}, seed=3)
    for alone in (samples_alone, measured(BASE, {("generation", "prior", "gfd"): 1.0}, seed=3)):
        assert gate([*generated((10.0, 12.0, 11.0)), alone], PRIOR).measured == "base by 11.0 ± 0.6"
        assert gate([alone], PRIOR).passed is None


# Precision


def precise(*values: float, row: Row = BASE) -> list[Given]:
    return [measured(row, {("generation", "reconstructions", "precision"): v}, k) for k, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "passed", "text"),
    [
        ((0.301,), True, "base 0.301"),
        ((0.3,), False, "base 0.300 fails"),
        ((0.0,), False, "base 0.000 fails"),
        ((0.2, 0.5), True, "base 0.350"),  # by the mean over seeds
    ],
)
def test_reconstructions_are_among_real_images(values, passed, text):
    found = gate(precise(*values), PRECISE)
    assert (found.passed, found.measured) == (passed, text)
    assert ("So, reconstructions do not look like real images" in str(found)) == (not passed)


def test_every_row_has_to_be_precise_and_samples_do_not_count():
    found = gate([*precise(0.9), *precise(0.1, row=OTHER)], PRECISE)
    assert (found.passed, found.measured) == (False, "base 0.900; + one 0.100 fails")
    assert gate([measured(BASE, {("generation", "samples", "precision"): 0.9})], PRECISE).passed is None


# A collapse from which anything could be kept


PLAIN = Row("KL-VAE", "kl_vae")


def spent(kl: float, optimum: float, seed: int = 0, stage: str = "evaluation", row: Row = PLAIN) -> Given:
    numbers = {(stage, "val", "kl"): kl, (stage, "val", "linear_gaussian_kl"): optimum}
    return measured(row, numbers, seed, of=experiment("kl_vae"))


@pytest.mark.parametrize("stage", ["evaluation", "diagnosis"])  # a sweep of latents measures by the latter alone
@pytest.mark.parametrize(
    ("kl", "optimum", "passed"),
    [
        (20.0, 30.0, True),
        (23.9, 30.0, True),
        (24.0, 30.0, False),  # border: four fifths of it
        (45.0, 30.0, False),
        (7.9, 10.0, True),
        (0.1, 9.9, False),  # border: so little that its loss cannot be seen
    ],
)
def test_the_plain_kl_vae_has_lost_information_that_it_could_have(kl, optimum, passed, stage):
    found = gate([spent(kl, optimum, stage=stage)], LOSE)
    assert (found.passed, found.measured) == (passed, f"{kl:.1f} of {optimum:.1f} nats")
    assert ("So, there is no collapse here" in str(found)) == (not passed and optimum >= 10)
    assert ("So, at this KL weight even a linear model holds too little" in str(found)) == (optimum < 10)


def test_one_place_of_the_plain_kl_vae_with_a_collapse_is_enough():
    """A sweep over its weight ends in one, and begins without one."""
    places = [spent(29.0, 30.0, row=dataclasses.replace(PLAIN, name="1e-4")), spent(2.0, 15.0), spent(4.0, 15.0, 1)]
    found = gate(places, LOSE)
    assert (found.passed, found.measured) == (True, "KL-VAE: 3.0 of 15.0 nats")
    assert gate(places[:1], LOSE).passed is False


def test_latents_alone_have_no_other_gate():
    found = gates([spent(20.0, 30.0, stage="diagnosis"), spent(20.0, 30.0, 1, stage="diagnosis")])
    assert [one.condition for one in found] == [gate([spent(20.0, 30.0)], LOSE).condition]


def test_the_loss_of_other_rows_does_not_count():
    for row in (Row("KL-VAE", "mactok"), Row("KL-VAE", "latent_masking")):
        assert gate([spent(1.0, 30.0, row=row)], LOSE).passed is None
    assert gate([measured(PLAIN, {("evaluation", "val", "kl"): 1.0}, of=experiment("kl_vae"))], LOSE).passed is None


def test_no_gate_passes_by_what_is_no_number():
    wrong = autoencoder({("psnr", "val"): (math.nan, 18.0)})
    assert gate([wrong], COMPONENTS).passed is not True
    assert gate([room(100.0, math.nan)], ROOM).passed is not True
    assert gate(generated((math.nan, 2.0, 3.0)), PRIOR).passed is not True
    assert gate(precise(math.nan), PRECISE).passed is not True
    assert gate([spent(math.nan, 30.0)], LOSE).passed is not True
