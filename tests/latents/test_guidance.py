"""The search for scale and interval of the guidance, and what may be asked of guidance and sampling."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.evaluation import fidelity, frechet, records, reference
from harness.experiments.experiment import UNGUIDED, Experiment, Guide
from harness.experiments.fields import with_fields
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import SCALES, scale
from harness.latents import autoencode, sampling
from harness.latents.sampling import Noise, Source
from harness.networks import weights
from harness.planning.stage import Outcome, Work
from harness.planning.task import task, tasks
from harness.stages import guidance, guided_samples
from harness.store.records import Record
from harness.store.runs import Run
from harness.system import plugins
from harness.system.errors import Mistake
from tests.conftest import MACHINE, experiment
from tests.latents.sources import GUIDES, SHAPE, labelled
from tests.latents.stored import EXPERIMENT

# The search for scale and interval

ASKED = with_fields(
    EXPERIMENT,
    {"guidance.scales": "1,2,4", "guidance.intervals": "0:0.7,0:1", "guidance.search_images": 40},
)
GRID = [UNGUIDED, Guide(2, 0, 0.7), Guide(2, 0, 1), Guide(4, 0, 0.7), Guide(4, 0, 1)]


def work(asked: Experiment, folder: Path, inputs: dict[str, Run]) -> Work:
    folder.mkdir(parents=True, exist_ok=True)
    return Work(asked, Run(folder), inputs, MACHINE, lambda: False, "", True)


def found_by(outcome: Outcome) -> Guide:
    """What the stage found, as JSON keeps it."""
    return Guide(**json.loads(json.dumps(outcome.facts["guide"])))


class Search:
    """A search by the louder generator, and what it asked to be drawn."""

    def __init__(self, louder: Source, inputs: dict[str, Run], folder: Path):
        self.drawn: list[tuple[Guide, list[int]]] = []
        with pytest.MonkeyPatch.context() as patch:
            source = dataclasses.replace(louder, experiment=ASKED)
            patch.setattr(sampling, "load", lambda *_: source)
            patch.setattr(Source, "draw", self.draw(Source.draw))
            self.outcome: Outcome = guidance.run(work(ASKED, folder, inputs))
        self.source = source

    def draw(self, draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def noted(source: Source, indices: range, guide: Guide, over: Callable) -> Tensor:
            self.drawn.append((guide, list(indices)))
            return draw(source, indices, guide, over)

        return noted


@pytest.fixture(scope="module")
def search(louder: Source, finished: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Search:
    return Search(louder, finished, tmp_path_factory.mktemp("search") / "guidance")


def test_the_grid_is_every_scale_in_every_interval_and_once_no_guidance():
    assert ASKED.guidance.grid == GRID
    assert ASKED.guidance.searched
    assert EXPERIMENT.guidance.grid == [GUIDES[1]]
    assert not EXPERIMENT.guidance.searched
    for fields in ({"guidance.scales": "1"}, {"guidance.scales": "2,2", "guidance.intervals": "0:1"}):
        assert not with_fields(ASKED, fields).guidance.searched
    assert with_fields(ASKED, {"guidance.scales": "2"}).guidance.searched  # of intervals alone


def test_a_single_pair_is_taken_as_it_is(tmp_path):
    for asked, expected in ((EXPERIMENT, GUIDES[1]), (with_fields(EXPERIMENT, {"guidance.scales": "1"}), UNGUIDED)):
        assert guidance.inputs(asked) == ()
        outcome = guidance.run(work(asked, tmp_path, {}))
        assert outcome.records == []
        assert found_by(outcome) == expected


def test_every_pair_of_the_grid_is_judged_by_the_same_images_and_the_least_gfd_wins(search, finished):
    assert [guide for guide, _ in search.drawn] == GRID
    ((indices),) = {tuple(indices) for _, indices in search.drawn}
    assert len(indices) == 40
    found = {(record.split, record.metric): record for record in search.outcome.records}
    assert set(found) == {(f"guidance {guide}", metric) for guide in GRID for metric in guidance.METRICS}
    assert {record.n for record in found.values()} == {40}

    tokenizer = weights.load_tokenizer(EXPERIMENT, finished["finetuning"])
    of_training = torch.from_numpy(np.load(finished["reference"].file(reference.FEATURES)))
    distances = {}
    for guide in GRID:
        pixels = autoencode.decode(tokenizer, search.source.draw(indices, guide), MACHINE)
        distances[guide] = frechet.of_features(fidelity.features(pixels, 64, MACHINE), of_training)
        assert found[f"guidance {guide}", "gfd"].value == pytest.approx(distances[guide], rel=1e-3)
        assert str(guide) in found[f"guidance {guide}", "gfd"].protocol or guide == UNGUIDED
    assert len(set(distances.values())) == len(GRID)
    assert found_by(search.outcome) == min(distances, key=distances.__getitem__)


@pytest.mark.parametrize("best", GRID, ids=str)
def test_the_pair_of_least_gfd_is_found_wherever_it_stands(best, louder, finished, tmp_path, monkeypatch):
    def judged(made: str, names: list[str]) -> list[Record]:
        values = {"gfd": 1.0 + (made != f"{best}"), "classifier_score": 9.0}
        return [Record(name, values[name], 40, 40, "guided", "") for name in names]

    monkeypatch.setattr(sampling, "load", lambda *_: dataclasses.replace(louder, experiment=ASKED))
    monkeypatch.setattr(Source, "draw", lambda source, indices, guide, over: str(guide))
    monkeypatch.setattr("harness.evaluation.decoded_latents.DecodedLatents.generated", lambda judge, z, *_: z)
    monkeypatch.setattr(records, "records", judged)
    assert found_by(guidance.run(work(ASKED, tmp_path, finished))) == best


@pytest.mark.parametrize("found", [UNGUIDED, Guide(4.0, 0.25, 0.5)], ids=str)
def test_what_was_found_reaches_the_guided_samples(found, finished, tmp_path):
    run = Run(tmp_path / "guidance" / "0")
    run.begin({}, {})
    facts = guidance.run(work(with_fields(EXPERIMENT, declared(found)), tmp_path / "single", {})).facts
    run.finish([], facts | {"units": 7})  # as every run remembers its size
    inputs = finished | {"guidance": run}
    outcome = guided_samples.run(work(ASKED, tmp_path / "samples", inputs))
    assert outcome.facts["how"] == sampling.how(ASKED, found)
    expected = sampling.load(ASKED, finished, MACHINE).draw(range(ASKED.sampling.images), found)
    made = np.load(tmp_path / "samples" / sampling.SAMPLES)
    np.testing.assert_allclose(made, expected.numpy(), rtol=0, atol=1e-4)


def declared(guide: Guide) -> dict[str, object]:
    return {"guidance.scales": (guide.scale,), "guidance.intervals": ((guide.low, guide.high),)}


def test_the_search_shares_no_noise_and_no_label_draws_with_what_is_judged(search):
    """For up to a million images of each class, which no scale comes near."""
    searched = search.drawn[0][1]
    of_samples = range(EXPERIMENT.sampling.images)
    assert not set(searched) & set(of_samples)
    assert min(searched) == guidance.SEARCHED_FROM * 10 == 10_000_000
    assert [index % 10 for index in searched] == [i % 10 for i in range(40)]  # the classes in equal shares
    noise = torch.cat([Noise(0, list(indices), SHAPE)() for indices in (searched, of_samples)])
    assert len(noise.unique(dim=0)) == 40 + EXPERIMENT.sampling.images
    random = labelled(search.source, "random")
    assert random.labels(searched).tolist() != random.labels(range(40)).tolist()
    for known in SCALES.values():
        drawn = known.experiment.sampling
        assert max(drawn.images, drawn.curve_images, 50_000) <= guidance.SEARCHED_FROM


# What cannot be asked


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("guidance.intervals", "0.7:0", "0.7 is not below 0"),
        ("guidance.intervals", "0:1,0.5:0.5", "0.5 is not below 0.5"),
        ("guidance.intervals", "0:1.1", "less than or equal to 1"),
        ("guidance.intervals", "-0.1:1", "greater than or equal to 0"),
        ("guidance.intervals", "0.7", "LOW:HIGH"),
        ("guidance.intervals", "0:0.5:1", "LOW:HIGH"),
        ("guidance.intervals", "0:", "number"),
        ("guidance.intervals", "0:0.7,", "LOW:HIGH"),
        ("guidance.intervals", "0:0.7;0:1", "LOW:HIGH"),
        ("guidance.intervals", "low:high", "number"),
        ("guidance.intervals", "nan:1", "less than or equal to 1"),
        ("sampling.labels", "rnadom", "'balanced' or 'random'"),
        ("guidance.scales", "0.5", "greater than or equal to 1"),
        ("guidance.scales", "2,0.5", "greater than or equal to 1"),
        ("guidance.scales", "nan", "finite"),
        ("guidance.scales", "high", "number"),
        ("guidance.search_images", "1", "greater than or equal to 16"),
        ("guidance.search_images", "20", "has no influence"),
        ("sampling.steps", "0", "greater than or equal to 1"),
        ("sampling.sampler", "eulr", "'euler_maruyama', 'sde_heun' or 'dopri5'"),
        ("sampling.images", "0", "greater than or equal to 16"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(field, value, expected):
    asked = AblationRequest(
        "table5", plugins.load("ablations", "table5", "study").study, scale("smoke"), fields=((field, value),)
    )
    with pytest.raises(Mistake) as error:
        asked.experiments()
    assert expected in str(error.value)
    assert field in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:0.7", ((0, 0.7),)),
        ("0:0.7,0:1", ((0, 0.7), (0, 1))),
        ("0.8:.9, 0.25:1", ((0.8, 0.9), (0.25, 1))),
        (((0.2, 0.4),), ((0.2, 0.4),)),
        ([[0.2, 0.4]], ((0.2, 0.4),)),  # as JSON gives them back
    ],
)
def test_intervals_are_written_low_high(text, expected):
    assert with_fields(EXPERIMENT, {"guidance.intervals": text}).guidance.intervals == expected


def test_a_search_can_be_asked_for_on_the_command_line():
    fields = (("guidance.scales", "1,2,4"), ("guidance.intervals", "0:0.7,0:1"), ("guidance.search_images", "40"))
    study = plugins.load("ablations", "table5", "study").study
    asked = AblationRequest("table5", study, scale("smoke"), fields=fields)
    of_rows = [made for of_row in asked.experiments().values() for made in of_row]
    assert {tuple(made.guidance.grid) for made in of_rows} == {tuple(GRID)}


def test_planning_refuses_an_unknown_generator_and_names_the_nearest():
    with pytest.raises(Mistake, match=r"^unknown generator 'sitt'\. Did you mean 'sit'\?"):
        tasks([experiment("mactok", generator__name="sitt")])


def test_the_key_of_samples_stands_for_how_they_are_drawn():
    def key(stage: str, **fields: object) -> str:
        return task(stage, experiment("mactok", **fields)).key

    for field in ({"sampling__steps": 5}, {"sampling__sampler": "heun"}, {"sampling__images": 170}, {"seed": 1}):
        assert key("samples", **field) != key("samples")
        assert key("guided_samples", **field) != key("guided_samples")
    labels, grid = {"sampling__labels": "random"}, {"guidance__scales": "2,3"}
    for stage in ("samples", "guided_samples", "generator_snapshots"):
        assert key(stage, **labels) != key(stage)
    assert key("guidance", **grid, **labels) != key("guidance", **grid)
    assert key("generator", **labels) == key("generator")
    for field in ({"guidance__scales": "3"}, {"guidance__intervals": "0:0.6"}, {"guidance__intervals": "0.1:0.7"}):
        assert key("samples", **field) == key("samples")
        assert key("guidance", **field) != key("guidance")
        assert key("guided_samples", **field) != key("guided_samples")
        assert key("generator", **field) == key("generator")
