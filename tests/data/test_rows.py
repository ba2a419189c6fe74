from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.data.rows import Rows
from harness.latents.shards import Sharded


def rows(kind: str) -> Rows:
    array = np.arange(5 * 2 * 3, dtype=np.float16).reshape(5, 2, 3)
    found = Rows(Sharded([array[:2], array[2:]]) if kind == "shards" else array, "cpu")
    if kind == "kept":
        found.kept = torch.from_numpy(np.asarray(array))
    return found


@pytest.mark.parametrize("kind", ["array", "shards", "kept"])
def test_rows_are_those_of_the_array(kind):
    images, views = torch.tensor([4, 0, 0, 3]), torch.tensor([1, 0, 1, 1])
    expected = torch.arange(30.0).view(5, 2, 3)[images, views]
    assert torch.equal(rows(kind)[images, views].float(), expected)
    assert rows(kind).home == "cpu"


def test_shards_are_one_array():
    sharded = Sharded([np.ones((2, 1, 3), np.float16), np.zeros((3, 1, 3), np.float16)])
    whole = np.asarray(sharded)
    assert whole.shape == sharded.shape == (5, 1, 3)
    assert whole.nbytes == sharded.nbytes
    assert whole.sum() == 6
