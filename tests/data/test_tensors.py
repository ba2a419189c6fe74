from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.data.tensors import flipped, to_tensor, to_uint8


def test_every_8_bit_value_comes_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    x = to_tensor(images)
    assert x.shape == (1, 3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_uint8(x), torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize("offset", [-0.49, -0.01, 0.01, 0.49])
def test_8_bits_are_rounded_never_truncated(offset):
    values = torch.arange(256.0)
    assert torch.equal(to_uint8((values + offset) / 127.5 - 1), values.to(torch.uint8))


def test_8_bits_are_clipped_not_wrapped():
    assert to_uint8(torch.tensor([-7.0, -1.01, 1.01, 7.0])).tolist() == [0, 0, 255, 255]


def test_flipped_mirrors_left_to_right_where_it_should():
    x = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2).float()
    found = flipped(x, torch.tensor([False, True]))
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1], x[1][:, :, [1, 0]])
