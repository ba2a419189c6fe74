from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.batches import Batches
from harness.draws import Draws, generator
from harness.images import to_tensor
from harness.machine import Machine

# Draws

BASE = Draws(0, "tokenizer", 0)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_draws_are_functions_of_seed_stage_name_and_step(kind):
    def draw(draws: Draws, name: str = "latents") -> torch.Tensor:
        return getattr(draws, kind)(name, 5, 4)

    first = draw(BASE)
    torch.manual_seed(1)
    assert torch.equal(draw(BASE), first)
    assert torch.equal(draw(Draws(0, "tokenizer", 0)), first)
    others = [draw(BASE, "flip")]
    others += [draw(dataclasses.replace(BASE, **change)) for change in ({"seed": 1}, {"stage": "x"}, {"step": 1})]
    assert not any(torch.equal(other, first) for other in others)
    assert first.shape == (5, 4)
    assert first.dtype == torch.float32


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    BASE.normal("latents", 10)
    generator(0, "tokenizer", "order", 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_steps_are_not_confused():
    found = {tuple(Draws(seed, "s", step).uniform("u", 2).tolist()) for seed in range(25) for step in range(25)}
    assert len(found) == 625


def test_draws_have_their_law():
    uniform, normal = BASE.uniform("u", 100_000), BASE.normal("n", 100_000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.004)
    assert normal.mean().item() == pytest.approx(0, abs=0.013)
    assert normal.var().item() == pytest.approx(1, abs=0.018)


# Batches

IMAGES = 10


def batches(batch_images: int = 4, seed: int = 0, stage: str = "tokenizer", images: int = IMAGES) -> Batches:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 2, 2, 3), dtype=np.uint8)
    return Batches(pixels, batch_images, seed, stage, Machine("cpu", "float32", 1))


@pytest.mark.parametrize("batch_images", [1, 4, 10, 25])
def test_every_epoch_is_a_permutation_of_its_own(batch_images):
    b = batches(batch_images)
    epochs = 6
    steps = -(-epochs * IMAGES // batch_images)
    order = torch.cat([b.order.indices(step) for step in range(steps)])[: epochs * IMAGES].view(epochs, IMAGES)
    assert all(sorted(epoch) == list(range(IMAGES)) for epoch in order.tolist())
    assert len(order.unique(dim=0)) == epochs


def test_a_batch_is_a_function_of_seed_stage_and_step():
    b = batches()
    forward = [b(step) for step in range(9)]
    for step in (8, 0, 5, 2):
        for again in (b(step), batches()(step)):
            for field in ("x", "indices", "flips"):
                assert torch.equal(getattr(again, field), getattr(forward[step], field))
    others = [batches(seed=1), batches(stage="finetuning")]
    for other in others:
        assert any(not torch.equal(other.order.indices(step), forward[step].indices) for step in range(3))
        assert any(not torch.equal(other(step).flips, forward[step].flips) for step in range(3))


def test_a_batch_holds_the_images_that_it_names():
    b = batches(25)
    batch = b(1)
    for x, index, mirrored in zip(batch.x, batch.indices, batch.flips, strict=True):
        image = to_tensor(b.images[[int(index)]])[0]
        assert torch.equal(x, image.flip(-1) if mirrored else image)


def test_half_of_the_images_are_mirrored():
    flips = torch.cat([batches(100, images=100)(step).flips for step in range(100)]).double()
    assert flips.mean().item() == pytest.approx(0.5, abs=4 * 0.005)
