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
from harness.latents import sampling as samples
from harness.latents.sampling import Noise, Source
from harness.networks import weights
from harness.planning.stage import Outcome, Stopped, Work
from harness.planning.task import task, tasks
from harness.stages import guidance, guided_samples
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.machine import Machine, this_machine
from models.samplers import SAMPLERS, times
from tests.conftest import experiment

MACHINE = Machine("cpu", "float32", 1)
EXPERIMENT = experiment("mactok")
L, Z = SHAPE = sampling.shape(EXPERIMENT)
INDICES = list(range(24))
GUIDES = [UNGUIDED, Guide(2.3, 0.0, 0.7)]
of_guides = pytest.mark.parametrize("guide", GUIDES, ids=str)
# After 40 steps the generator hardly heeds time and class; these factors let it.
LOUDER = {"label.weight": 30, "modulation.weight": 5, "to_velocity.weight": 30}


# Noise


def three(seed: int, indices: list[int]) -> dict[int, Tensor]:
    """Three draws in a row of every image."""
    noise = Noise(seed, indices, SHAPE)
    return dict(zip(indices, torch.stack([noise(), noise(), noise()], dim=1), strict=True))


@pytest.mark.parametrize("indices", [[5], [9, 5, 3], [3, 4, 5, 6, 7, 8, 9], [1000, 9]])
def test_noise_of_an_image_does_not_depend_on_the_others(indices):
    expected = three(0, [*range(10), 1000])
    for index, draws in three(0, indices).items():
        assert torch.equal(draws, expected[index])


def test_noise_differs_by_seed_index_and_call():
    draws = torch.cat([torch.stack(list(three(seed, INDICES).values())) for seed in (0, 1, 24)])
    assert len(draws.flatten(0, 1).unique(dim=0)) == 3 * len(INDICES) * 3


def test_noise_is_normal():
    draws = Noise(0, range(2000), SHAPE)()
    assert draws.shape == (2000, L, Z)
    assert draws.dtype == torch.float32
    assert draws.mean().item() == pytest.approx(0, abs=0.016)
    assert draws.var().item() == pytest.approx(1, abs=0.023)


# Source


@pytest.fixture(scope="module")
def finished(runs: Path) -> dict[str, Run]:
    return {t.stage: t.run_in(Store(runs)) for t in tasks([EXPERIMENT])}


@pytest.fixture(scope="module")
def louder(finished: dict[str, Run]) -> Source:
    source = sampling.load(EXPERIMENT, finished, MACHINE)
    for name, parameter in source.network.named_parameters():
        parameter.data *= next((factor for end, factor in LOUDER.items() if name.endswith(end)), 1)
    return source


def by(source: Source, sampler: str, **fields: object) -> Source:
    """The same source with another sampler, and other fields of its experiment."""
    asked = {"sampling.sampler": sampler} | {path.replace("__", "."): value for path, value in fields.items()}
    return dataclasses.replace(source, experiment=with_fields(source.experiment, asked))


@of_guides
@pytest.mark.parametrize("labels", ["balanced", "random"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_same_whatever_is_drawn_beside_it(sampler, labels, guide, louder, monkeypatch):
    source = by(louder, sampler, sampling__labels=labels)
    together = source.draw(INDICES, guide)
    assert together.shape == (len(INDICES), L, Z)
    differences = (together[:, None] - together).abs().amax((2, 3)) + torch.eye(len(INDICES))
    assert differences.min() > 0.1
    backwards = source.draw(INDICES[::-1], guide).flip(0)
    some = [17, 3, 20]
    torch.testing.assert_close(backwards, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(source.draw(some, guide), together[some], rtol=0, atol=1e-4)
    torch.testing.assert_close(source.draw([20], guide), together[[20]], rtol=0, atol=1e-4)
    monkeypatch.setattr(sampling, "BATCH", 7)
    torch.testing.assert_close(source.draw(INDICES, guide), together, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guidance_of_1_is_none_to_the_bit(sampler, louder):
    network, y = louder.network, torch.tensor(INDICES) % 10
    noise = Noise(0, INDICES, SHAPE)
    with torch.no_grad():
        x_0 = SAMPLERS[sampler](lambda x, t: network(x, torch.full((len(x),), t), y), noise(), times(4), noise)
    drawn = by(louder, sampler).draw(INDICES, UNGUIDED)
    assert torch.equal(drawn, louder.statistics.denormalise(x_0))
    assert torch.equal(by(louder, sampler).draw(INDICES, Guide(1.0, 0.2, 0.6)), drawn)
    assert not torch.allclose(by(louder, sampler).draw(INDICES, GUIDES[1]), drawn, atol=0.1)


@of_guides
@pytest.mark.parametrize("field", [{"seed": 1}, {"sampling__steps": 5}, {"sampling__labels": "random"}])
def test_what_is_drawn_follows_the_experiment(field, guide, louder):
    drawn = louder.draw(INDICES, guide)
    assert not torch.allclose(by(louder, "euler_maruyama", **field).draw(INDICES, guide), drawn, atol=0.01)


@pytest.mark.parametrize("guide", [Guide(2.5, 0.0, 0.7), Guide(2.3, 0.0, 0.3), Guide(2.3, 0.4, 0.7)], ids=str)
def test_what_is_drawn_follows_scale_and_interval(guide, louder):
    drawn = louder.draw(INDICES, GUIDES[1])
    assert not torch.allclose(louder.draw(INDICES, guide), drawn, atol=0.01)
    declared = by(louder, "euler_maruyama", guidance__scales="4", guidance__intervals="0.2:0.3")
    assert torch.equal(declared.draw(INDICES, GUIDES[1]), drawn)  # it is the guide that counts


def calls(source: Source, draw: Callable[[], object]) -> list[tuple[float, list[int]]]:
    """Time and classes of every call of the network."""
    seen: list[tuple[float, list[int]]] = []
    hook = source.network.register_forward_pre_hook(lambda _, args: seen.append((args[1][0].item(), args[2].tolist())))
    draw()
    hook.remove()
    return seen


@pytest.mark.parametrize("guide", [*GUIDES, Guide(2.3, 0.4, 1.0), Guide(2.3, 0.25, 0.5)], ids=str)
def test_classes_follow_one_another_and_none_stands_beside_them_inside_the_interval(guide, louder):
    indices = [0, 9, 10, 13, 25, 159]
    classes, none = [0, 9, 0, 3, 5, 9], [10] * 6
    seen = dict(calls(louder, lambda: louder.draw(indices, guide)))
    inside = classes + none if guide.scale != 1 else classes
    assert seen == {t: inside if guide.low <= t <= guide.high else classes for t in (1.0, 0.75, 0.5, 0.25)}


def test_batches_can_be_drawn_anywhere(louder, monkeypatch):
    """Whoever maps them may share them out, or stop between them."""
    monkeypatch.setattr(sampling, "BATCH", 10)
    sizes: list[int] = []

    def over(function, batches):
        for batch in batches:
            sizes.append(len(batch))
            yield function(batch)

    assert torch.equal(louder.draw(INDICES, UNGUIDED, over), louder.draw(INDICES, UNGUIDED))
    assert len(sizes) == 3
    assert sum(sizes) == len(INDICES)


@pytest.mark.parametrize("stage", ["samples", "guided_samples"])
def test_stored_samples_can_be_drawn_again(stage, finished):
    stored = np.load(finished[stage].file("samples.npy"))
    assert stored.shape == (EXPERIMENT.sampling.images, L, Z)
    assert stored.dtype == np.float32
    guide = UNGUIDED if stage == "samples" else EXPERIMENT.guidance.grid[0]
    assert finished[stage].result()["facts"]["how"] == sampling.how(EXPERIMENT, guide)
    again = sampling.load(EXPERIMENT, finished, this_machine()).draw(range(EXPERIMENT.sampling.images), guide).numpy()
    np.testing.assert_allclose(again, stored, rtol=0, atol=1e-5)


def test_drawing_that_was_stopped_goes_on_and_ends_in_the_same_samples(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "PART", 64)
    monkeypatch.setattr(sampling, "BATCH", 64)

    def drawn(name: str, stop: list[bool]) -> np.ndarray:
        """The samples, drawn while `stop` says before every batch whether to stop."""
        (tmp_path / name).mkdir(exist_ok=True)
        work = Work(EXPERIMENT, Run(tmp_path / name), finished, MACHINE, lambda: stop.pop(0), "", True)
        samples.draw(work, GUIDES[1])
        assert not stop
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["progress.json", samples.SAMPLES]
        return np.load(tmp_path / name / samples.SAMPLES)

    with pytest.raises(Stopped):
        drawn("stopped", [False, True])
    whole = drawn("whole", [False, False, False])
    assert np.array_equal(drawn("stopped", [False, False]), whole)
    at_once = sampling.load(EXPERIMENT, finished, MACHINE).draw(range(EXPERIMENT.sampling.images), GUIDES[1])
    np.testing.assert_allclose(whole, at_once.numpy(), rtol=0, atol=1e-4)


# Labels


def labelled(source: Source, how: str, seed: int = 0) -> Source:
    return by(source, "euler", sampling__labels=how, seed=seed)


def test_balanced_labels_take_turns(louder):
    assert labelled(louder, "balanced").labels(range(25)).tolist() == [i % 10 for i in range(25)]
    assert labelled(louder, "balanced", 1).labels([1000, 7]).tolist() == [0, 7]


def test_random_labels_are_a_function_of_seed_and_index(louder):
    source = labelled(louder, "random")
    expected = source.labels(range(300))
    torch.rand(3)
    assert torch.equal(labelled(louder, "random").labels(range(300)), expected)
    assert torch.equal(source.labels(range(299, -1, -1)), expected.flip(0))
    assert torch.equal(torch.cat([source.labels([i]) for i in range(300)]), expected)
    of_another_seed = labelled(louder, "random", 1).labels(range(300))
    assert (of_another_seed == expected).float().mean().item() == pytest.approx(0.1, abs=0.05)
    drawn_from = dict(calls(source, lambda: source.draw([5, 250, 17], UNGUIDED)))
    assert set(map(tuple, drawn_from.values())) == {tuple(expected[[5, 250, 17]].tolist())}


def test_random_labels_are_uniform_and_do_not_follow_one_another(louder):
    labels = labelled(louder, "random").labels(range(4000))
    counts = labels.bincount(minlength=10)
    assert len(counts) == 10
    assert ((counts - 400) ** 2 / 400).sum().item() < 27.9  # chi-squared of 9 degrees of freedom, p = 0.001
    assert counts.min() < 400  # in no equal shares
    in_a_row = (10 * labels[:-1] + labels[1:]).bincount(minlength=100)
    assert ((in_a_row - 40) ** 2 / 40).sum().item() < 148  # 99 degrees of freedom


def test_protocols_say_which_labels_and_which_guidance():
    balanced, random = EXPERIMENT, with_fields(EXPERIMENT, {"sampling.labels": "random"})
    guide = Guide(2.3, 0.1, 0.7)
    assert sampling.how(balanced, guide).endswith("guidance 2.3 for t in [0.1, 0.7], classes in equal shares")
    assert sampling.how(random, guide).endswith("guidance 2.3 for t in [0.1, 0.7], classes drawn at random")
    assert sampling.how(random, UNGUIDED).endswith("no guidance, classes drawn at random")
    assert "euler_maruyama, 4 steps" in sampling.how(balanced, UNGUIDED)


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
    made = np.load(tmp_path / "samples" / samples.SAMPLES)
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
        ("sampling.sampler", "eulr", "'euler', 'heun' or 'euler_maruyama'"),
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
