"""Images as folders and npz files, how they are read or refused, and how much memory that takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.adm_files import FeatureStatistics
from harness.data.image_sets import ImageSet, open_images
from harness.system.errors import Mistake
from tests.conftest import photograph

SIDE = 24


def crops(n: int, side: int = SIDE) -> np.ndarray:
    """Different crops of a photograph, (n, side, side, 3)."""
    source = np.asarray(photograph())[150:, 200:]  # below the sky
    return np.stack([source[6 * i : 6 * i + side, 5 * i : 5 * i + side] for i in range(n)])


def statistics(d: int = 6, e: int = 5) -> FeatureStatistics:
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(20, d)), draws.normal(size=(20, e))
    return FeatureStatistics(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def samples(path: Path, images: np.ndarray, save: Callable[..., None] = np.savez, **more: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    save(path, images, **more)
    return path


def saved(path: Path, images: np.ndarray) -> Path:
    """A folder of these images as PNG files."""
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:02d}.png")
    return path


def pixels(path: Path, count: int = 4, **options: Any) -> np.ndarray:
    return np.concatenate(list(open_images(path, **options).batches(count)))


def refused(path: Path, **options: Any) -> str:
    """The one line with which `path` is refused, at once."""
    with pytest.raises(Mistake) as error:
        open_images(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def peak(work: Callable[..., object], *arguments: Any) -> int:
    """Bytes that `work` held at most."""
    tracemalloc.start()
    try:
        work(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def through(images: ImageSet, n: int) -> None:
    assert sum(map(len, images.batches(32))) == n
