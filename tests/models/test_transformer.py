from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.config import Transformer
from models.layers.transformer import Blocks, angles_1d, attention, positions_1d, positions_2d
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


# The last block computes only the tokens that are read


@pytest.mark.parametrize("read", [slice(-5, None), slice(12), slice(3, 9)], ids=["last", "first", "middle"])
@pytest.mark.parametrize("rotary", [False, True])
def test_tokens_that_are_not_read_are_not_missed(read, rotary):
    blocks = Blocks(Transformer(32, 2, 4))
    x, angles = DRAWS.normal("x", 3, 17, 32).requires_grad_(), angles_1d(17, 8) if rotary else None
    weights = DRAWS.normal("w", 3, 17, 32)[:, read]
    found, whole = blocks(x, angles, read), blocks(x, angles)[:, read]
    torch.testing.assert_close(found, whole)
    parameters = [x, *blocks.parameters()]
    of_found, of_whole = (torch.autograd.grad((weights * h).sum(), parameters) for h in (found, whole))
    for a, b in zip(of_found, of_whole, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("tokens", [8, 17, 40])
def test_attention_has_the_gradient_of_the_products(tokens):
    q, k, v = (DRAWS.normal(name, 2, 3, tokens, 8).bfloat16().requires_grad_() for name in "qkv")
    weights = DRAWS.normal("w", 2, 3, tokens, 8)
    found = torch.autograd.grad((attention(q, k, v).float() * weights).sum(), (q, k, v))
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    expected = torch.autograd.grad((functional.scaled_dot_product_attention(*exact) * weights).sum(), exact)
    for a, b in zip(found, expected, strict=True):
        assert ((a.double() - b).norm() / b.norm()).item() < 0.02
