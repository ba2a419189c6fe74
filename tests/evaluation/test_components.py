"""Principal components of pixels, against numpy, in chunks of any size and of as many images as memory holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.evaluation import components
from harness.evaluation.components import Components, fitted, images_used
from harness.store.runs import Run, Store
from harness.system.machine import Machine

CPU = Machine("cpu", "float32", 1)
SIDE = 4
PIXELS = 3 * SIDE**2
COUNTS = {"two": 2, "fewer than pixels": 20, "one fewer": PIXELS - 1, "some more": 60, "more": 200}


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """uint8 images (n, H, W, 3) whose pixels go together, and differ in height, width and colour."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, 256, (count, 1, 1, 1))
    rows = rng.integers(0, 256, (count, SIDE, 1, 1))
    own = rng.integers(0, 256, (count, SIDE, SIDE, 3))
    return (0.4 * common + 0.3 * rows + 0.3 * own * np.array([1, 0.5, 0.2])).astype(np.uint8)


def flat(images: np.ndarray) -> np.ndarray:
    """The images (n, D) in [-1, 1], channels first, float64."""
    return (images.transpose(0, 3, 1, 2).reshape(len(images), -1) / 127.5) - 1


def assert_same(found: Components, expected: Components) -> None:
    """Equal up to rounding and the signs of the components."""
    torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.eigenvalues, expected.eigenvalues, rtol=1e-3, atol=1e-5)
    assert found.images == expected.images
    assert found.vectors.shape == expected.vectors.shape
    cosines = (found.vectors * expected.vectors).sum(1).abs()
    assert cosines.min() > 0.999


@pytest.fixture(params=COUNTS)
def images(request: pytest.FixtureRequest) -> np.ndarray:
    return drawn(COUNTS[request.param])


def test_they_are_those_of_the_covariance(images):
    found, x = fitted(images, CPU), flat(images)
    covariance = np.cov(x, rowvar=False)
    rank = min(len(images) - 1, PIXELS)
    assert found.mean.shape == (PIXELS,)
    assert found.vectors.shape == (rank, PIXELS)
    assert found.eigenvalues.shape == (rank,)
    assert found.images == len(images)
    assert {part.dtype for part in found[:3]} == {torch.float32}
    np.testing.assert_allclose(found.mean, x.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(covariance)[::-1][:rank], rtol=1e-3, atol=1e-6)
    assert (found.eigenvalues.diff() <= 0).all()
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(rank), atol=1e-3)
    built = (found.vectors.T * found.eigenvalues) @ found.vectors
    np.testing.assert_allclose(built, covariance, atol=1e-5)


def test_a_component_is_in_the_order_of_tensors(images):
    """Channels first, as a tokenizer gets images: the first component of images that differ in one channel."""
    red = np.zeros_like(images)
    red[..., 0] = images[:, :1, :1, 0]
    vector = fitted(red, CPU).vectors
    assert vector.shape == (1, PIXELS)
    expected = torch.cat([torch.full((SIDE**2,), 1 / SIDE), torch.zeros(2 * SIDE**2)])
    torch.testing.assert_close(vector[0].abs(), expected)


@pytest.mark.parametrize("chunk", [1, 7, 20, 64])
def test_chunks_of_any_size_give_the_same(images, chunk, monkeypatch):
    whole = fitted(images, CPU)
    monkeypatch.setattr(components, "CHUNK", chunk)
    assert_same(fitted(images, CPU), whole)


def test_no_more_images_than_a_chunk_are_asked_for_at_once(images, monkeypatch):
    class Watched:
        shape, most = images.shape, 0

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, rows: slice) -> np.ndarray:
            self.most = max(self.most, len(images[rows]))
            return images[rows]

    whole, watched = fitted(images, CPU), Watched()
    monkeypatch.setattr(components, "CHUNK", 7)
    assert_same(fitted(watched, CPU), whole)
    assert 0 < watched.most <= 7


# Which images


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("images", [16, 8192, 1_281_167])
def test_all_images_are_used_where_pixels_have_a_covariance(side, images):
    assert images_used(images, side) == images


@pytest.mark.parametrize("side", [128, 256, 512])
def test_as_many_images_are_used_as_memory_holds(side):
    used, bytes_each = images_used(1_281_167, side), 4 * 3 * side**2
    assert used * bytes_each <= components.IMAGES_BYTES
    assert used <= components.LARGEST_COVARIANCE
    assert used == components.LARGEST_COVARIANCE or (used + 1) * bytes_each > components.IMAGES_BYTES
    assert images_used(used, side) == used
    assert images_used(used - 1, side) == images_used(used, side) - 1
    assert images_used(100, side) == 100


def test_at_the_papers_side_all_components_that_latents_may_have_are_found():
    assert images_used(1_281_167, 256) > components.MOST_COMPONENTS


def test_of_many_images_the_first_are_used(monkeypatch):
    monkeypatch.setattr(components, "LARGEST_COVARIANCE", 30)  # fewer than the pixels
    images = drawn(200)
    found = fitted(images, CPU)
    assert found.images == 30
    assert_same(found, fitted(images[:30], CPU))


def test_no_more_components_than_latents_have_and_all_their_variances(images, monkeypatch):
    every = fitted(images, CPU)
    monkeypatch.setattr(components, "MOST_COMPONENTS", 5)
    found = fitted(images, CPU)
    torch.testing.assert_close(found.vectors, every.vectors[:5])
    torch.testing.assert_close(found.eigenvalues, every.eigenvalues)


# What does not vary


@pytest.mark.parametrize("count", [20, 200], ids=["fewer", "more"])
@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_rounding_is_no_component(count, kinds):
    few = drawn(kinds)[np.arange(count) % kinds]
    found = fitted(few, CPU)
    assert found.vectors.shape == (kinds - 1, PIXELS)
    assert found.eigenvalues.shape == (kinds - 1,)
    np.testing.assert_allclose(found.mean, flat(few).mean(0), atol=1e-6)


# On disk


def stored(found: Components, place: Path) -> Run:
    run = Store(place).run("components", "key")
    run.begin({}, {})
    found.save(run)
    run.finish([], {})
    return run


def test_they_survive_the_disk(images, tmp_path):
    found = fitted(images, CPU)
    again = components.load(stored(found, tmp_path))
    assert all(torch.equal(one, other) for one, other in zip(found[:3], again[:3], strict=True))
    assert again.images == found.images
    assert type(again.images) is int
