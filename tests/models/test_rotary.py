from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.system.errors import Mistake
from models.autoencoders.vit_1d import ViT1D
from models.config import Tokenizer as Config
from models.config import Transformer
from models.layers.transformer import Blocks, angles_1d, angles_2d, rotated
from tests.conftest import BATCH, DRAWS, SIDE, experiment, images

HEAD = 8
SIZE = Transformer(width=32, depth=2, heads=4)


def queries(tokens: int, width: int = HEAD) -> Tensor:
    return DRAWS.normal("q", 2, 3, tokens, width)


# Turning


def test_a_pair_of_dimensions_is_a_complex_number_times_a_phase():
    x, angles = queries(11), angles_1d(11, HEAD)
    numbers = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    exact = torch.view_as_real(numbers * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    torch.testing.assert_close(rotated(x, angles), exact)


@pytest.mark.parametrize("angles", [angles_1d(16, HEAD), angles_2d(4, HEAD)], ids=["1d", "2d"])
def test_turning_keeps_norms_and_dtype_and_what_stands_at_angle_0(angles):
    x = queries(16)
    found = rotated(x, angles)
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(found[..., 0, :], x[..., 0, :])
    assert (found[..., 1:, :] - x[..., 1:, :]).abs().amax(-1).min() > 0.01
    half = rotated(x.bfloat16(), angles)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), found, atol=0.05, rtol=0)


def products(angles: Tensor) -> Tensor:
    """<q, k> of one query and one key at every pair of places (T, T)."""
    q, k = (DRAWS.normal(name, 1, 1, 1, HEAD).expand(1, 1, len(angles), HEAD) for name in "qk")
    return (rotated(q, angles) @ rotated(k, angles).mT)[0, 0]


def test_products_depend_on_the_difference_of_places():
    found = products(angles_1d(12, HEAD))
    for difference in range(-11, 12):
        diagonal = found.diagonal(difference)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert torch.pdist(torch.cat([found[0], found[1:, 0]])[:, None]).min() > 1e-4  # each difference its own


def test_products_depend_on_the_differences_of_rows_and_of_columns():
    found = products(angles_2d(4, HEAD)).view(4, 4, 4, 4)  # row and column of the query, then those of the key
    inner = found[:3, :3, :3, :3]
    torch.testing.assert_close(found[1:, :3, 1:, :3], inner, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:3, 1:, :3, 1:], inner, atol=1e-5, rtol=0)
    assert torch.pdist(found[0, 0].flatten()[:, None]).min() > 1e-4


# Angles


def test_angles_of_a_sequence_by_hand():
    exact = [[place * 10_000 ** (-2 * i / HEAD) for i in range(HEAD // 2)] for place in range(5)]
    torch.testing.assert_close(angles_1d(5, HEAD), torch.tensor(exact))


def test_turning_on_a_grid_by_hand():
    """The first half of a head by the row, the second half by the column, as a matrix for each place."""
    x, side = queries(9), 3
    found = rotated(x, angles_2d(side, HEAD))
    for row in range(side):
        for column in range(side):
            turns = []
            for place in (row, column):
                for i in range(HEAD // 4):
                    a = place * 10_000 ** (-4 * i / HEAD)
                    turns.append(torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]))
            exact = x[..., side * row + column, :] @ torch.block_diag(*turns).T
            torch.testing.assert_close(found[..., side * row + column, :], exact)


# Blocks and tokenizer


def test_blocks_without_angles_and_with_angles_of_0_are_the_same():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = Blocks(SIZE)
    x = DRAWS.normal("x", 2, 9, SIZE.width)
    found = blocks(x)
    torch.testing.assert_close(blocks(x, torch.zeros(9, 4)), found)
    assert (blocks(x, angles_2d(3, 8)) - found).abs().max() > 0.01
    order = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 0])
    torch.testing.assert_close(blocks(x[:, order]), found[:, order])  # nothing but angles tells places apart
    assert (blocks(x[:, order], angles_2d(3, 8)) - blocks(x, angles_2d(3, 8))[:, order]).abs().max() > 0.01


def tokenizer(**fields: object) -> ViT1D:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ViT1D(experiment(**fields).tokenizer, SIDE)


def test_rotary_adds_nothing_to_the_weights_and_changes_what_is_encoded_and_decoded():
    plain, rotary = tokenizer(), tokenizer(tokenizer__rotary=True)
    assert plain.state_dict().keys() == rotary.state_dict().keys()
    assert all(torch.equal(value, rotary.state_dict()[name]) for name, value in plain.state_dict().items())
    x, z = images(), DRAWS.normal("z", BATCH, 8, 4)
    assert (plain.encode(x).mean - rotary.encode(x).mean).abs().max() > 1e-4
    assert (plain.decode(z) - rotary.decode(z)).abs().max() > 1e-4
    rotary.encoder_angles = rotary.decoder_angles = None  # the angles are all that differs
    assert torch.equal(plain.encode(x).mean, rotary.encode(x).mean)
    assert torch.equal(plain.decode(z), rotary.decode(z))


@pytest.mark.parametrize("name", ["encoder_angles", "decoder_angles"])
def test_image_tokens_are_turned_by_row_and_column_and_latent_tokens_not(name):
    """The heads of encoder and decoder differ in width, and the angles with them."""
    network = tokenizer(tokenizer__rotary=True, tokenizer__decoder__heads=1)
    angles, head = getattr(network, name), {"encoder_angles": 16, "decoder_angles": 32}[name]
    assert angles.shape == (64 + 8, head // 2)
    assert torch.equal(angles[:64], angles_2d(8, head))
    assert not angles[64:].any()


@pytest.mark.parametrize("which", ["encoder", "decoder"])
def test_heads_that_do_not_divide_by_4_are_refused(which):
    odd = Transformer(width=48, depth=1, heads=8)
    sizes = {"encoder": SIZE, "decoder": SIZE} | {which: odd}
    Config(patch_size=4, tokens=8, channels=4, **sizes)
    with pytest.raises(ValueError, match="rotary: a head of 48 / 8 dimensions is not a multiple of 4"):
        Config(patch_size=4, tokens=8, channels=4, rotary=True, **sizes)
    with pytest.raises(Mistake, match="rotary: a head of 48 / 8"):
        experiment(**{"tokenizer__rotary": True, f"tokenizer__{which}__width": 48, f"tokenizer__{which}__heads": 8})
