from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness import plugins, sampling
from harness.errors import Mistake
from harness.experiment import with_fields
from harness.machine import Machine, this_machine
from harness.plan import task, tasks
from harness.sampling import Noise, Source
from harness.scales import scale
from harness.stages import Stopped, Work, samples
from harness.store import Run, Store
from harness.study import AskedAblation
from models.samplers import SAMPLERS
from tests.conftest import experiment

MACHINE = Machine("cpu", "float32", 1)
EXPERIMENT = experiment("mactok")
L, Z = SHAPE = sampling.shape(EXPERIMENT)
INDICES = list(range(24))
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
    """The same source with another sampler, and other fields of sampling or guidance."""
    asked = {"sampling.sampler": sampler} | {path.replace("__", "."): value for path, value in fields.items()}
    return dataclasses.replace(source, experiment=with_fields(source.experiment, asked))


@pytest.mark.parametrize("w", [1.0, 2.3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_same_whatever_is_drawn_beside_it(sampler, w, louder, monkeypatch):
    source = by(louder, sampler)
    together = source.draw(INDICES, w)
    assert together.shape == (len(INDICES), L, Z)
    differences = (together[:, None] - together).abs().amax((2, 3)) + torch.eye(len(INDICES))
    assert differences.min() > 0.1
    backwards = source.draw(INDICES[::-1], w).flip(0)
    some = [17, 3, 20]
    torch.testing.assert_close(backwards, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(source.draw(some, w), together[some], rtol=0, atol=1e-4)
    torch.testing.assert_close(source.draw([20], w), together[[20]], rtol=0, atol=1e-4)
    monkeypatch.setattr(sampling, "BATCH", 7)
    torch.testing.assert_close(source.draw(INDICES, w), together, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guidance_of_1_is_none_to_the_bit(sampler, louder):
    network, y = louder.network, torch.tensor(INDICES) % 10
    noise = Noise(0, INDICES, SHAPE)
    with torch.no_grad():
        x_0 = SAMPLERS[sampler](lambda x, t: network(x, torch.full((len(x),), t), y), noise(), 4, noise)
    drawn = by(louder, sampler).draw(INDICES, 1.0)
    assert torch.equal(drawn, louder.statistics.denormalise(x_0))
    assert not torch.allclose(by(louder, sampler).draw(INDICES, 2.3), drawn, atol=0.1)


@pytest.mark.parametrize(
    "field", [{"seed": 1}, {"sampling__steps": 5}, {"guidance__high": 0.3}, {"guidance__low": 0.4}]
)
def test_what_is_drawn_follows_the_experiment(field, louder):
    drawn = louder.draw(INDICES, 2.3)
    assert not torch.allclose(by(louder, "euler_maruyama", **field).draw(INDICES, 2.3), drawn, atol=0.01)


def calls(source: Source, draw: Callable[[], object]) -> list[tuple[float, list[int]]]:
    """Time and classes of every call of the network."""
    seen: list[tuple[float, list[int]]] = []
    hook = source.network.register_forward_pre_hook(lambda _, args: seen.append((args[1][0].item(), args[2].tolist())))
    draw()
    hook.remove()
    return seen


@pytest.mark.parametrize("w", [1.0, 2.3])
def test_classes_follow_one_another_and_none_stands_beside_them_inside_the_interval(w, louder):
    indices = [0, 9, 10, 13, 25, 159]
    classes, none = [0, 9, 0, 3, 5, 9], [10] * 6
    seen = dict(calls(louder, lambda: louder.draw(indices, w)))
    inside = classes + none if w != 1 else classes
    assert seen == {1.0: classes, 0.75: classes, 0.5: inside, 0.25: inside}


def test_batches_can_be_drawn_anywhere(louder, monkeypatch):
    """Whoever maps them may share them out, or stop between them."""
    monkeypatch.setattr(sampling, "BATCH", 10)
    sizes: list[int] = []

    def over(function, batches):
        for batch in batches:
            sizes.append(len(batch))
            yield function(batch)

    assert torch.equal(louder.draw(INDICES, 1.0, over), louder.draw(INDICES, 1.0))
    assert len(sizes) == 3
    assert sum(sizes) == len(INDICES)


@pytest.mark.parametrize("stage", ["samples", "guided_samples"])
def test_stored_samples_can_be_drawn_again(stage, finished):
    stored = np.load(finished[stage].file("samples.npy"))
    assert stored.shape == (EXPERIMENT.sampling.images, L, Z)
    assert stored.dtype == np.float32
    facts = finished[stage].result()["facts"]
    assert facts["guidance"] == (1 if stage == "samples" else EXPERIMENT.guidance.scales[0])
    assert facts["how"] == sampling.how(EXPERIMENT, facts["guidance"])
    source = sampling.load(EXPERIMENT, finished, this_machine())
    again = source.draw(range(EXPERIMENT.sampling.images), facts["guidance"]).numpy()
    np.testing.assert_allclose(again, stored, rtol=0, atol=1e-5)


def test_drawing_that_was_stopped_goes_on_and_ends_in_the_same_samples(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "PART", 64)
    monkeypatch.setattr(sampling, "BATCH", 64)

    def drawn(name: str, stop: list[bool]) -> np.ndarray:
        """The samples, drawn while `stop` says before every batch whether to stop."""
        (tmp_path / name).mkdir(exist_ok=True)
        samples.draw(Work(EXPERIMENT, Run(tmp_path / name), finished, MACHINE, lambda: stop.pop(0), "", True), 2.3)
        assert not stop
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["progress.json", samples.SAMPLES]
        return np.load(tmp_path / name / samples.SAMPLES)

    with pytest.raises(Stopped):
        drawn("stopped", [False, True])
    whole = drawn("whole", [False, False, False])
    assert np.array_equal(drawn("stopped", [False, False]), whole)
    at_once = sampling.load(EXPERIMENT, finished, MACHINE).draw(range(EXPERIMENT.sampling.images), 2.3)
    np.testing.assert_allclose(whole, at_once.numpy(), rtol=0, atol=1e-4)


# What cannot be asked


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("guidance.low", "0.8", "guidance.low 0.8 is not below guidance.high 0.7"),
        ("guidance.low", "0.7", "guidance.low 0.7 is not below guidance.high 0.7"),
        ("guidance.high", "1.1", "less than or equal to 1"),
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
    asked = AskedAblation(
        "table5", plugins.load("ablations", "table5", "study").study, scale("smoke"), fields=((field, value),)
    )
    with pytest.raises(Mistake) as error:
        asked.experiments()
    assert expected in str(error.value)
    assert field in str(error.value)
    assert "\n" not in str(error.value)


def test_an_interval_of_guidance_can_be_moved_as_a_whole():
    moved = with_fields(EXPERIMENT, {"guidance.low": "0.8", "guidance.high": "0.9"}).guidance
    assert (moved.low, moved.high) == (0.8, 0.9)


def test_planning_refuses_an_unknown_generator_and_names_the_nearest():
    with pytest.raises(Mistake, match=r"^unknown generator 'sitt'\. Did you mean 'sit'\?"):
        tasks([experiment("mactok", generator__name="sitt")])


def test_the_key_of_samples_stands_for_how_they_are_drawn():
    def key(stage: str, **fields: object) -> str:
        return task(stage, experiment("mactok", **fields)).key

    for field in ({"sampling__steps": 5}, {"sampling__sampler": "heun"}, {"sampling__images": 170}, {"seed": 1}):
        assert key("samples", **field) != key("samples")
        assert key("guided_samples", **field) != key("guided_samples")
    for field in ({"guidance__scales": "3"}, {"guidance__high": 0.6}, {"guidance__low": 0.1}):
        assert key("samples", **field) == key("samples")
        assert key("guided_samples", **field) != key("guided_samples")
        assert key("generator", **field) == key("generator")
