"""The counter-based generator: published answers, laws, and independence of parts, order and device code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from harness.system import philox
from harness.system.randomness import Chosen, Draws, Part, named

# Counter, key and words of the authors' known-answer tests of Philox 4x32-10 (Random123).
ANSWERS = {
    ((0,) * 4, 0): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ((0xFFFFFFFF,) * 4, 2**64 - 1): "408f276d 41c83b0e a20bc7c6 6d5451fd",
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0_A4093822,
    ): "d16cfe09 94fdcceb 5001e420 24126ea1",
}
COUNT = 200_000
DRAWS = Draws(0, "tests", 3)


@pytest.mark.parametrize(
    "kind", [lambda v: np.array([v], np.int64), lambda v: torch.tensor([v])], ids=["numpy", "torch"]
)
@pytest.mark.parametrize("known", ANSWERS, ids=["zeros", "ones", "pi"])
def test_known_answers(known, kind):
    counter, key = known
    assert " ".join(f"{int(word[0]):08x}" for word in philox.philox(tuple(map(kind, counter)), key)) == ANSWERS[known]


def test_the_code_of_gpus_draws_the_same(monkeypatch):
    on_cpu = [DRAWS.uniform("u", 7, 5), DRAWS.normal("n", 7, 5), DRAWS.uniform("one")]
    monkeypatch.setattr(philox, "_by_numpy", philox._by_torch)
    there = [DRAWS.uniform("u", 7, 5), DRAWS.normal("n", 7, 5), DRAWS.uniform("one")]
    assert all(torch.equal(a, b) for a, b in zip(on_cpu, there, strict=True))
    as_tensor = Draws(0, "tests", torch.tensor(3))
    assert torch.equal(as_tensor.normal("n", 7, 5), on_cpu[1])


@pytest.mark.parametrize("of", [2, 3, 4])
@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 3, 5), (12, 16, 16)])
def test_a_part_draws_what_it_has_of_the_whole(of, shape):
    for law in ("uniform", "normal"):
        whole = getattr(DRAWS, law)("x", *shape)
        for index in range(of):
            part = Part(index, of)
            mine = getattr(Draws(0, "tests", 3, part=part), law)("x", shape[0] // of, *shape[1:])
            assert torch.equal(mine, part(whole))


def test_an_image_has_its_numbers_in_any_company():
    places = [5, 2**32 + 5, 2**62, 0, named("a name")]
    together = Draws(0, "tests", 0, part=Chosen(places)).normal("x", len(places), 3)
    for row, place in zip(together, places, strict=True):
        assert torch.equal(Draws(0, "tests", 0, part=Chosen([place])).normal("x", 1, 3)[0], row)
    assert len(torch.unique(together)) == together.numel()  # the high words of a place count
    assert torch.equal(together[3], Draws(0, "tests", 0).normal("x", 1, 3)[0])


def test_the_laws_hold():
    uniform, normal = DRAWS.uniform("u", COUNT), DRAWS.normal("n", COUNT // 4, 4)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.001
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 0.001
    # Neighbours: numbers of one block, images, steps and names.
    others = [normal[:, 1], normal[:, 2], normal[:, 3], normal[:, 0].roll(1)]
    others += [Draws(0, "tests", 4).normal("n", COUNT // 4, 4)[:, 0], DRAWS.normal("m", COUNT // 4, 4)[:, 0]]
    for other in others:
        assert abs(np.corrcoef(normal[:, 0], other)[0, 1]) < 4.5 / (COUNT // 4) ** 0.5
        assert abs(np.corrcoef(normal[:, 0].square(), other.square())[0, 1]) < 4.5 / (COUNT // 4) ** 0.5


def test_normal_draws_reach_into_the_tails():
    drawn = Draws(0, "tails", 0).normal("n", 1_000_000).abs()
    for sigma in (3, 4):
        expected = 1_000_000 * 2 * stats.norm.sf(sigma)
        assert abs(int((drawn > sigma).sum()) - expected) < 4.5 * expected**0.5
    extreme = [torch.zeros(1, 1, dtype=torch.int64)] * 4, [torch.full((1, 1), philox.LOW)] * 4
    assert all(philox.normal(four).isfinite().all() for four in extreme)
    assert philox.normal(extreme[0]).abs().max() > 6.5
    assert philox.uniform(extreme[1]).max() < 1
