from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import indexed as indexed_module
from harness.data.indexed import IndexedImages
from harness.data.tensors import to_tensor
from harness.system.errors import Trouble
from harness.system.machine import Machine
from harness.system.randomness import WHOLE, Draws, Part, generator
from harness.training.batches import Batch, Batches
from tests.encoded import no_thread_outlives, opened, save_folders

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


def test_images_are_mirrored_unless_that_is_off():
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), dtype=np.uint8)
    never = Batches(pixels, IMAGES, 0, "tokenizer", Machine("cpu", "float32", 1), flip=False)
    mirrored, batch = batches(IMAGES)(0), never(0)
    assert mirrored.flips.any() and not batch.flips.any()
    assert torch.equal(batch.indices, mirrored.indices) and torch.equal(batch.x, to_tensor(pixels[batch.indices]))


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


# Images that are decoded as they are read

HALVES = [Part(0, 2), Part(1, 2)]


@pytest.fixture
def indexed(tmp_path: Path) -> IndexedImages:
    """Fifteen images of three classes."""
    images = opened("imagenet", save_folders(tmp_path / "imagenet"), tmp_path / "index").images
    assert isinstance(images, IndexedImages)
    return images


def of(images: np.ndarray | IndexedImages, seed: int = 0) -> Batches:
    return Batches(images, 4, seed, "tokenizer", Machine("cpu", "float32", 1))  # type: ignore[arg-type]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, field), getattr(b, field)) for field in ("x", "indices", "flips"))


@pytest.mark.parametrize("parts", [[WHOLE], HALVES], ids=["whole", "halves"])
@pytest.mark.parametrize("start", [0, 7])
def test_batches_decoded_ahead_are_those_that_are_not(parts: list[Part], start: int, indexed: IndexedImages) -> None:
    ahead, plain = of(indexed), of(np.array(indexed))
    for step in range(start, start + 9):  # over the ends of epochs
        for part in parts:
            assert same(ahead(step, part), plain(step, part)), (step, part)


def test_calls_may_jump(indexed: IndexedImages) -> None:
    ahead, plain = of(indexed), of(np.array(indexed))
    calls = [(0, WHOLE), (0, HALVES[1]), (20, HALVES[0]), (3, WHOLE), (3, WHOLE), (5, HALVES[0]), (4, HALVES[0])]
    for step, part in calls:
        assert same(ahead(step, part), plain(step, part))
        assert all(step <= begun <= step + 2 for begun, _ in ahead.decoding.begun)


@pytest.mark.parametrize("parts", [[WHOLE], HALVES], ids=["whole", "halves"])
def test_two_batches_are_decoded_in_advance(
    parts: list[Part], indexed: IndexedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[int]] = []
    begin = indexed.begin
    monkeypatch.setattr(indexed, "begin", lambda places: begun.append(places.tolist()) or begin(places))
    b = of(indexed)
    for step in range(5):
        for part in parts:
            b(step, part)
        assert len(begun) == len(parts) * (step + 3) and len(b.decoding.begun) == 2 * len(parts)
    expected = [b.order.indices(step, part).tolist() for step in range(7) for part in parts]
    assert sorted(begun) == sorted(expected)  # each once


def test_a_step_finds_its_images_decoded(indexed: IndexedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    b = of(indexed)
    b(0)
    for pending in b.decoding.begun.values():
        assert all(future.result(timeout=10) for future in pending.futures)
    monkeypatch.setattr(indexed, "read", lambda place: pytest.fail("decoded in the step itself"))
    b.AHEAD = 0  # type: ignore[misc]
    b(1)


def test_arrays_are_not_decoded() -> None:
    before = set(threading.enumerate())
    b = batches()
    b(0)
    assert not b.decoding.begun and not b.damaged and set(threading.enumerate()) <= before


def test_damaged_images_are_told(indexed: IndexedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed_module, "WAITS_SECONDS", ())
    (indexed.root / indexed.name(5)).unlink()
    expected = np.array(indexed)
    b, plain = of(indexed), of(expected)
    for step in range(4):
        assert same(b(step), plain(step))
    assert b.damaged == [indexed.name(5)]
    np.testing.assert_array_equal(expected[5], expected[8])


def test_trouble_leaves_nothing_behind(indexed: IndexedImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(indexed_module, "WAITS_SECONDS", ())
    b = of(indexed)
    b(0)
    (tmp_path / "imagenet").rename(tmp_path / "elsewhere")
    with pytest.raises(Trouble, match="cannot be read in"):
        for step in range(1, 9):
            b(step)
    assert not b.decoding.begun


def test_no_thread_outlives_the_batches(tmp_path: Path) -> None:
    def used() -> Batches:
        batches = of(opened("imagenet", save_folders(tmp_path / "imagenet"), tmp_path / "index").images)
        batches(0)
        return batches

    no_thread_outlives(used)


def test_a_process_ends_though_batches_are_being_decoded(tmp_path: Path) -> None:
    root, index = save_folders(tmp_path / "imagenet"), tmp_path / "index"
    opened("imagenet", root, index)
    code = (
        "from pathlib import Path; from harness.data.splits import open_split;"
        "from harness.system.machine import Machine;"
        "from harness.training.batches import Batches;"
        f"images = open_split(Path({str(index)!r}), 'train').images;"
        "batches = Batches(images, 400, 0, 'tokenizer', Machine('cpu', 'float32', 1)); batches(0); 1 / 0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
