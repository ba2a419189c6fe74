"""Noise, samples and labels: each is a function of the seed and of the image's index alone."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.experiments.experiment import UNGUIDED, Guide
from harness.experiments.fields import with_fields
from harness.latents import sampling
from harness.latents.sampling import Noise, Source
from harness.planning.stage import Stopped, Work
from harness.store.runs import Run
from harness.system.machine import this_machine
from models.flows.samplers import SAMPLERS, times
from tests.conftest import MACHINE
from tests.latents.sources import GUIDES, SHAPE, L, Z, by, labelled
from tests.latents.stored import EXPERIMENT

INDICES = list(range(24))
of_guides = pytest.mark.parametrize("guide", GUIDES, ids=str)

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


def test_images_whose_short_seeds_are_equal_have_noise_of_their_own():
    """Their generators in torch would draw the same: it keeps 32 bits of a seed."""
    a, b = three(2, [35353, 43220]).values()
    assert not torch.equal(a, b)
    assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.3


def test_noise_is_normal():
    draws = Noise(0, range(2000), SHAPE)()
    assert draws.shape == (2000, L, Z)
    assert draws.dtype == torch.float32
    assert draws.mean().item() == pytest.approx(0, abs=0.016)
    assert draws.var().item() == pytest.approx(1, abs=0.023)


# Source


@of_guides
@pytest.mark.parametrize("labels", ["balanced", "random"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_same_whatever_is_drawn_beside_it(sampler, labels, guide, louder, monkeypatch):
    source = by(louder, sampler, sampling__labels=labels)
    # The steps of dopri5 follow its errors, so that its rounding grows.
    close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-3 if sampler == "dopri5" else 1e-4)
    together = source.draw(INDICES, guide)
    assert together.shape == (len(INDICES), L, Z)
    differences = (together[:, None] - together).abs().amax((2, 3)) + torch.eye(len(INDICES))
    assert differences.min() > 0.1
    backwards = source.draw(INDICES[::-1], guide).flip(0)
    some = [17, 3, 20]
    close(backwards, together)
    close(source.draw(some, guide), together[some])
    close(source.draw([20], guide), together[[20]])
    monkeypatch.setattr(sampling, "BATCH", 7)
    close(source.draw(INDICES, guide), together)


def at(x: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
    return t if isinstance(t, torch.Tensor) else torch.full((len(x),), t)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guidance_of_1_is_none_to_the_bit(sampler, louder):
    network, y = louder.network, torch.tensor(INDICES) % 10
    noise = Noise(0, INDICES, SHAPE)
    with torch.no_grad():
        x_0 = SAMPLERS[sampler](lambda x, t: network(x, at(x, t), y), noise(), times(4), noise)
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


def test_drawing_that_was_stopped_goes_on_and_ends_in_the_same_samples(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "PART", 64)
    monkeypatch.setattr(sampling, "BATCH", 64)

    def drawn(name: str, stop: list[bool]) -> np.ndarray:
        """The samples, drawn while `stop` says before every batch whether to stop."""
        (tmp_path / name).mkdir(exist_ok=True)
        work = Work(EXPERIMENT, Run(tmp_path / name), finished, MACHINE, lambda: stop.pop(0), "", True)
        sampling.draw(work, GUIDES[1])
        assert not stop
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["progress.json", sampling.SAMPLES]
        return np.load(tmp_path / name / sampling.SAMPLES)

    with pytest.raises(Stopped):
        drawn("stopped", [False, True])
    whole = drawn("whole", [False, False, False])
    assert np.array_equal(drawn("stopped", [False, False]), whole)
    for name, damage in (
        ("flipped", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("cut", lambda c: c[:90]),
    ):
        with pytest.raises(Stopped):
            drawn(name, [False, True])
        part = tmp_path / name / "parts/0.npy"
        part.write_bytes(damage(part.read_bytes()))
        assert np.array_equal(drawn(name, [False, False, False]), whole)
        assert f"{part} is damaged: its images are drawn again" in capsys.readouterr().err
    at_once = sampling.load(EXPERIMENT, finished, MACHINE).draw(range(EXPERIMENT.sampling.images), GUIDES[1])
    np.testing.assert_allclose(whole, at_once.numpy(), rtol=0, atol=1e-4)


# Labels


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
