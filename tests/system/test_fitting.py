"""Batches that fit: their size is found by trying, and no item is lost or seen twice."""

from __future__ import annotations

import pytest
import torch

from harness.evaluation import fidelity
from harness.latents import autoencode, sampling
from harness.system.fitting import Batching


class Gpu:
    """A device on which `fits` items fit; it doubles them."""

    def __init__(self, fits: int):
        self.fits, self.tried = fits, list[int]()

    def __call__(self, items: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(items))
        if len(items) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * items


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize("fits", [1, 3, 8, 20, 100])
def test_the_largest_part_of_the_batch_that_fits_is_found_once(fits, on_a_gpu):
    batching, gpu, items = Batching(4, 64), Gpu(fits), torch.arange(150)
    assert torch.equal(torch.cat(batching.map(gpu, items)), 2 * items)
    assert batching.on_gpu == max(size for size in (1, 2, 4, 8, 16, 32, 64) if size <= fits)
    failed = sum(size > fits for size in gpu.tried)
    assert torch.equal(torch.cat(batching.map(gpu, items)), 2 * items)
    assert sum(size > fits for size in gpu.tried) == failed


def test_one_item_that_does_not_fit_is_told(on_a_gpu):
    with pytest.raises(torch.OutOfMemoryError):
        Batching(4, 64).map(Gpu(0), torch.arange(5))


def test_batches_of_the_cpu_are_fixed():
    gpu = Gpu(100)
    Batching(4, 64).map(gpu, torch.arange(10))
    assert gpu.tried == [4, 4, 2]


def test_a_gpu_takes_at_least_as_many_as_the_cpu():
    for one in (autoencode.ENCODING, autoencode.DECODING, fidelity.LOOKING, sampling.DRAWING):
        assert one.on_gpu >= one.on_cpu
