from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.system.randomness import Draws
from models.config import Alignment
from models.objectives.alignment import AlignmentLoss, Features
from tests.conftest import BATCH, DRAWS


@pytest.mark.parametrize(("local_term", "global_term"), [(True, False), (False, True), (True, True)])
def test_alignment_is_equations_3_to_6(local_term, global_term):
    tokens, latents, channels, patch, whole = 16, 4, 3, 7, 11
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = AlignmentLoss(Alignment(local_term, global_term, hidden=16), channels, patch, whole)
    z = DRAWS.normal("z", BATCH, latents, channels)
    p = DRAWS.normal("p", BATCH, tokens, patch)
    teacher = Features(DRAWS.normal("c", BATCH, whole), p, DRAWS.normal("s", BATCH, tokens))

    def cosine(a: Tensor, b: Tensor) -> float:
        return (a @ b / (a.norm() * b.norm())).item()

    values = []
    repeated = z.repeat_interleave(tokens // latents, dim=1)
    for image in range(BATCH):
        cosines = []
        if local_term:
            cosines += [cosine(loss.local_head(repeated[image, i]), teacher.p[image, i]) for i in range(tokens)]
        if global_term:
            cosines += [cosine(loss.global_head(z[image].sum(0) / latents), teacher.c[image])]
        assert len(cosines) == tokens * local_term + global_term
        values.append(-sum(cosines) / len(cosines))
    assert loss(z, teacher).item() == pytest.approx(sum(values) / BATCH, abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_alignment_reaches_its_bounds_and_not_beyond(sign):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = AlignmentLoss(Alignment(True, True, hidden=16), 3, 7, 11)
    z = DRAWS.normal("z", BATCH, 4, 3)
    p = 5 * sign * loss.local_head(z).repeat_interleave(4, dim=1)
    c = 0.1 * sign * loss.global_head(z.mean(1))
    assert loss(z, Features(c, p, p[..., 0])).item() == pytest.approx(-sign, abs=1e-6)
    for seed in range(20):
        draws = Draws(seed, "bounds", 0)
        teacher = Features(draws.normal("c", BATCH, 11), draws.normal("p", BATCH, 16, 7), p[..., 0])
        assert -1 <= loss(draws.normal("z", BATCH, 4, 3) * 100, teacher).item() <= 1
