"""The statistics of latents, what the stage stores of them, and what the generator sees."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data.splits import open_split
from harness.latents import autoencode
from harness.latents.shards import PARAMETERS, Latents
from harness.latents.statistics import STATISTICS, LatentMoments, LatentStatistics, load_statistics
from harness.stages import latents as stage
from harness.store.runs import Store
from harness.system.machine import Machine, this_machine
from harness.training.ahead import Ahead
from harness.training.batches import Order
from models.autoencoders.posterior import Posterior
from tests.conftest import experiment
from tests.latents.stored import DRAWS, EXPERIMENT, IMAGES, L, Z, posterior, whole
from tests.training.test_ahead import Lane

# LatentStatistics


def statistics_of(*parts: Posterior) -> LatentStatistics:
    moments = LatentMoments(Z)
    for part in parts:
        moments.add(part)
    return moments.statistics()


def test_moments_are_those_of_drawn_samples():
    q = posterior()
    samples = torch.cat([q.sample(DRAWS.normal(f"sample {i}", *q.mean.shape)) for i in range(200)]).double()
    found = statistics_of(q)
    assert found.mean.numpy() == pytest.approx(samples.mean((0, 1)).numpy(), abs=0.02)
    assert found.std.numpy() == pytest.approx(samples.std((0, 1)).numpy(), rel=0.01)
    assert found.mean.shape == found.std.shape == (Z,)


@pytest.mark.parametrize("images", [1, 7, 299])
def test_moments_do_not_depend_on_the_parts(images):
    q = posterior()
    parts = zip(q.mean.split(images), q.log_variance.split(images), strict=True)
    in_parts = statistics_of(*(Posterior(*part) for part in parts))
    for one, other in zip(in_parts, statistics_of(q), strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-6)


def test_without_a_variance_the_moments_are_those_of_the_means():
    mean = posterior().mean
    found = statistics_of(Posterior(mean, None))
    assert found.mean.numpy() == pytest.approx(mean.double().mean((0, 1)).numpy(), rel=1e-6)
    assert found.std.numpy() == pytest.approx(mean.double().std((0, 1), correction=0).numpy(), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_a_channel_that_never_changes_can_be_normalised(value):
    constant = torch.full((50, L, Z), value)
    found = statistics_of(Posterior(constant, None))
    assert (found.std > 0).all()
    assert found.normalise(constant).abs().max() < 1


def test_denormalise_is_the_inverse_of_normalise():
    q = posterior()
    found = statistics_of(q)
    normal = found.normalise(q.mean)
    assert not torch.allclose(normal, q.mean, atol=0.1)
    torch.testing.assert_close(found.denormalise(normal), q.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.normalise(found.denormalise(q.mean)), q.mean, rtol=1e-5, atol=1e-5)


# What the stage stores


@pytest.mark.parametrize(("split", "view", "views"), [("train", 0, 2), ("train", 1, 2), ("val", 0, 1)])
def test_view_0_is_the_posterior_of_the_image_and_view_1_of_its_mirror_image(split, view, views, finished, tokenizer):
    images = open_split(finished["data"].folder, split).images
    machine = this_machine()
    q = autoencode.encode(tokenizer.to(machine.device), np.flip(images, axis=2) if view else images, machine)
    for name in ("mean", "log_variance"):
        stored = whole(finished["latents"], split, name)
        assert stored.shape == (len(images), views, L, Z)
        assert stored.dtype == np.float16
        moment = getattr(q, name).numpy()
        np.testing.assert_allclose(stored[:, view], moment, rtol=1e-3, atol=1e-6)
        others = [stored[:, other] for other in range(views) if other != view]
        assert not any(np.allclose(other, moment, rtol=1e-3, atol=1e-3) for other in others)


def test_stored_statistics_are_those_of_both_views_of_train(finished):
    mean, log_variance = (
        torch.from_numpy(whole(finished["latents"], "train", name).astype(np.float32)) for name in PARAMETERS
    )
    stored = load_statistics(finished["latents"])
    for one, other in zip(stored, statistics_of(Posterior(mean, log_variance)), strict=True):
        assert one.dtype == torch.float32
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-3, abs=1e-4)


def test_its_size_is_told_beforehand(finished):
    written = sum(file["bytes"] for file in finished["latents"].result()["files"].values())
    assert stage.size(EXPERIMENT).bytes == pytest.approx(written, rel=0.01)


def test_what_the_latents_of_imagenet_take():
    large = experiment("mactok", data__train_images=1_281_167, data__val_images=50_000)
    values = 2 * (2 * 1_281_167 + 50_000) * L * Z
    assert stage.size(large).bytes == pytest.approx(2 * values, rel=0.01)
    assert 2 * -(-1_281_167 // stage.shard_images(1_281_167)) < 500  # files that a training has open; 1024 are allowed


@pytest.mark.parametrize(("images", "shards"), [(1, 1), (512, 1), (1024, 2), (8192, 4), (8193, 4), (40_000, 5)])
def test_a_split_is_in_shards_of_whole_batches(images, shards):
    found = stage._shards("train", images)
    assert len(found) == shards
    assert [place for shard in found for place in range(shard.start, shard.stop)] == list(range(images))
    assert all(len(shard) % stage.BATCH == 0 and len(shard) <= stage.SHARD for shard in found[:-1])
    assert sorted(shard.array("mean") for shard in found) == [shard.array("mean") for shard in found]


def test_normalised_latents_decode_to_the_same_images(finished, tokenizer):
    # After 40 steps the decoder hardly heeds its latents; these factors let it.
    tokenizer.decoder[0].proj.weight.data *= 10
    tokenizer.to_pixels.weight.data *= 30
    machine, statistics = Machine("cpu", "float32", 1), load_statistics(finished["latents"])
    q = autoencode.encode(tokenizer, open_split(finished["data"].folder, "val").images[:50], machine)
    z = q.sample(DRAWS.normal("z", *q.mean.shape))

    def image(z: Tensor) -> Tensor:
        return autoencode.decode(tokenizer, z, machine).int()

    assert (image(statistics.denormalise(statistics.normalise(z))) - image(z)).abs().max() <= 1
    assert (image(statistics.normalise(z)) - image(z)).abs().amax((1, 2, 3)).min() > 1


# What the generator sees


def test_what_the_generator_sees_has_mean_0_and_deviation_1(finished):
    labels = open_split(finished["data"].folder, "train").labels
    latents = Latents(finished["latents"], "train", labels, "cpu")
    places, views = torch.arange(len(labels)).repeat_interleave(2), torch.tensor([0, 1]).repeat(len(labels))
    x_0, y = latents.at(places, views, DRAWS.normal("x_0", len(places), L, Z))
    assert x_0.shape == (len(places), L, Z)
    assert x_0.dtype == torch.float32
    assert x_0.mean((0, 1)).numpy() == pytest.approx(np.zeros(Z), abs=0.06)
    assert x_0.std((0, 1)).numpy() == pytest.approx(np.ones(Z), abs=0.06)
    assert y.tolist() == labels[places].tolist()


def made(place: Path, mean: np.ndarray, log_variance: np.ndarray | None = None) -> Latents:
    """Latents of these arrays, with labels that tell the images apart."""
    run = Store(place).run("latents", "made")
    run.begin({}, {})
    np.save(run.folder / "train_mean.npy", mean)
    if log_variance is not None:
        np.save(run.folder / "train_log_variance.npy", log_variance)
    np.savez(run.folder / STATISTICS, mean=np.float32([1, 2, 3, 4]), std=np.float32([1, 2, 4, 8]))
    run.finish([], {})
    return Latents(run, "train", 1000 + np.arange(IMAGES), "cpu")


def order(seed: int = 0) -> Order:
    return Order(IMAGES, 8, seed, "generator", Machine("cpu", "float32", 1))


def test_a_batch_takes_the_views_that_its_flips_say_and_the_labels_of_its_images(tmp_path):
    numbered = np.arange(IMAGES)[:, None] + 100 * np.arange(2)
    latents = made(tmp_path, np.broadcast_to(numbered[..., None, None], (IMAGES, 2, L, Z)).astype(np.float16))
    flips = torch.cat([order().flips(step) for step in range(3)])
    assert 0 < flips.sum() < len(flips)
    for step in range(3):
        x_0, y = latents.batch(order(), step)
        expected = order().indices(step) + 100 * order().flips(step)
        z = latents.statistics.denormalise(x_0)
        torch.testing.assert_close(z, expected.float()[:, None, None].expand(-1, L, Z))
        assert torch.equal(y, 1000 + order().indices(step))


@pytest.mark.parametrize("gaussian", [True, False])
def test_batches_that_are_sent_in_advance_are_equal(gaussian, tmp_path):
    q = posterior()
    arrays = [value.numpy().astype(np.float16)[:, None].repeat(2, 1) for value in (q.mean, q.log_variance)]
    plain, sent = (made(tmp_path / name, *arrays[: 1 + gaussian]) for name in ("plain", "sent"))
    sent.ahead = Ahead(functools.partial(sent._reading, order()), Lane())
    for step in range(3 * IMAGES // 8):
        for one, other in zip(plain.batch(order(), step), sent.batch(order(), step), strict=True):
            assert torch.equal(one, other)


def test_a_batch_samples_the_posterior_anew_at_every_step(tmp_path):
    zero = np.zeros((IMAGES, 2, L, Z), np.float16)
    latents = made(tmp_path, zero, zero + np.float16(2 * np.log(3)))
    drawn = torch.stack([latents.statistics.denormalise(latents.batch(order(), step)[0]) for step in range(40)])
    assert drawn.mean().item() == pytest.approx(0, abs=0.15)
    assert drawn.std().item() == pytest.approx(3, rel=0.03)
    assert len(drawn[:, 0, 0, 0].unique()) == 40
    assert torch.equal(latents.batch(order(), 7)[0], latents.batch(order(), 7)[0])
    assert not torch.equal(latents.batch(order(seed=1), 7)[0], latents.batch(order(), 7)[0])
