from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.transformer import attention, positions_1d, positions_2d
from tests.conftest import DRAWS


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_is_scaled_dot_product_attention(dtype, tolerance):
    q, k, v = (DRAWS.normal(name, 2, 3, 17, 8).to(dtype) for name in "qkv")
    found = attention(q, k, v)
    assert found.dtype == dtype
    exact = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=0)


@pytest.mark.parametrize("positions", [positions_1d(256, 32), positions_2d(16, 32)], ids=["1d", "2d"])
def test_every_place_has_a_position_of_its_own(positions):
    assert positions.shape == (1, 256, 32)
    distances = torch.cdist(positions[0].double(), positions[0].double())
    assert (distances + torch.eye(256) * 9).min() > 0.05


def test_positions_2d_are_in_row_order():
    grid = positions_2d(6, 16).view(6, 6, 16)
    assert torch.equal(grid[2, :, :8], grid[2, :1, :8].expand(6, 8))  # one half is the row
    assert torch.equal(grid[:, 2, 8:], grid[:1, 2, 8:].expand(6, 8))  # the other one the column
    assert torch.equal(grid[..., 8:].transpose(0, 1), grid[..., :8])
