from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.system.randomness import Draws
from models.config import LatentMasking, Masking
from models.objectives.masking import cosine_score, hide_highest, image_mask, latent_mask, mask_ratio

DRAWS = 200_000
BATCH = 20_000
TOKENS = 64
RATIOS = [0.4, 0.5, 0.6, 0.7, 0.8, 1.0]  # of Table 4, and all of the image


def draws(step: int = 0, seed: int = 0) -> Draws:
    return Draws(seed, "tests", step)


def image(batch: int = BATCH, step: int = 0, score: Tensor | None = None, seed: int = 0, **fields: object) -> Tensor:
    return image_mask(Masking(on=True, **fields), draws(step, seed), batch, TOKENS, score)


def latent(batch: int = BATCH, step: int = 0, seed: int = 0, **fields: object) -> Tensor:
    return latent_mask(LatentMasking(on=True, **fields), draws(step, seed), batch, TOKENS)


LAWS = {"image": image, "latent": latent}


def scores(batch: int) -> Tensor:
    return draws().normal("score", batch, TOKENS)


def moment(order: int, max_ratio: float) -> float:
    """E[m^order]: m has the density 1 / (M + 0.1) on (0, M] and a point mass at 0."""
    return max_ratio ** (order + 1) / ((order + 1) * (max_ratio + 0.1))


# The law of m


@pytest.mark.parametrize("max_ratio", RATIOS)
def test_law_of_m(max_ratio):
    m = mask_ratio(draws().uniform("m", DRAWS), max_ratio).double()
    first, second, third, fourth = (moment(order, max_ratio) for order in (1, 2, 3, 4))
    variance = second - first**2
    assert abs(m.mean() - first) < 4 * math.sqrt(variance / DRAWS)
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    assert abs(m.var() - variance) < 4 * math.sqrt((central - variance**2) / DRAWS)
    whole = 0.1 / (max_ratio + 0.1)
    assert abs((m == 0).double().mean() - whole) < 4 * math.sqrt(whole * (1 - whole) / DRAWS)
    assert m.min() == 0
    assert max_ratio - 1e-3 < m.max() <= max_ratio + 1e-7


def test_one_image_of_eight_is_whole_at_the_ratio_of_the_paper():
    whole = (mask_ratio(draws().uniform("m", DRAWS), 0.7) == 0).double().mean().item()
    assert whole == pytest.approx(1 / 8, abs=0.003)


@pytest.mark.parametrize("name", LAWS)
def test_nothing_is_hidden_at_ratio_0(name):
    assert not LAWS[name](max_ratio=0.0).any()


@pytest.mark.parametrize("max_ratio", [0.4, 0.7, 1.0])
@pytest.mark.parametrize("name", LAWS)
def test_law_of_the_number_of_hidden_tokens(name, max_ratio):
    count = LAWS[name](max_ratio=max_ratio).sum(1).double()
    most = math.floor(max_ratio * TOKENS)
    tail = [(max_ratio - k / TOKENS) / (max_ratio + 0.1) for k in range(1, most + 1)]  # P(count >= k)
    mean = sum(tail)
    variance = sum((2 * k - 1) * p for k, p in enumerate(tail, 1)) - mean**2
    assert abs(count.mean() - mean) < 4 * math.sqrt(variance / BATCH)
    none = 1 - tail[0]
    assert abs((count == 0).double().mean() - none) < 4 * math.sqrt(none * (1 - none) / BATCH)
    assert count.max() <= most


@pytest.mark.parametrize("name", LAWS)
def test_every_place_is_hidden_equally_often(name):
    mask = LAWS[name]().double()
    rate = mask.mean()
    # Over all places the counts sum to what was drawn: the deviation within images is what is left.
    deviation = (mask.mean(1) * (1 - mask.mean(1))).mean().sqrt() / math.sqrt(BATCH)
    assert (mask.mean(0) - rate).abs().max() < 5 * deviation


# Which places


@pytest.mark.parametrize("tokens", [1, 10, 16, 64, 100, 256, 400, 1024])
def test_exactly_the_floor_of_m_n_is_hidden(tokens):
    whole = torch.arange(tokens + 1)
    priority = draws().uniform("places", tokens + 1, tokens)
    for offset, hidden in ((0.0, whole), (0.5, whole), (-0.01, whole - 1)):
        count = hide_highest(priority, ((whole + offset) / tokens).float()).sum(1)
        assert torch.equal(count[1:-1], hidden[1:-1])
    assert hide_highest(priority, whole / tokens).sum(1)[[0, -1]].tolist() == [0, tokens]


def test_seven_of_ten():
    assert hide_highest(scores(1)[:, :10], torch.tensor([0.7])).sum() == 7


def test_the_highest_are_hidden():
    priority = torch.tensor([[0.1, 0.9, 0.5, 0.7], [3.0, -2.0, 1.0, -1.0], [-4.0, -3.0, -2.0, -1.0]])
    hidden = hide_highest(priority, torch.tensor([0.5, 0.25, 0.75]))
    expected = [[False, True, False, True], [True, False, False, False], [False, True, True, True]]
    assert hidden.tolist() == expected


@pytest.mark.parametrize("hidden", range(TOKENS + 1))
def test_ties_do_not_change_the_number(hidden):
    flat, steps = torch.zeros(1, TOKENS), torch.arange(TOKENS)[None].float().div(16).floor()
    ratio = torch.tensor([hidden / TOKENS])
    assert hide_highest(flat, ratio).sum() == hidden
    mask = hide_highest(steps, ratio)
    assert mask.sum() == hidden
    assert hidden in (0, TOKENS) or steps[mask].min() >= steps[~mask].max()


@pytest.mark.parametrize(("ratio", "hidden"), [(0.0, 0), (1.0, TOKENS)])
def test_nothing_and_everything(ratio, hidden):
    assert hide_highest(scores(5), torch.full((5,), ratio)).sum(1).tolist() == [hidden] * 5


# Per image, per batch


@pytest.mark.parametrize("name", LAWS)
def test_per_image_or_per_batch(name):
    assert len(LAWS[name](100, per="image").sum(1).unique()) > 10
    counts = []
    for step in range(50):
        mask = LAWS[name](100, step, per="batch")
        assert len(mask.sum(1).unique()) == 1
        counts.append(int(mask[0].sum()))
        if 4 < counts[-1] < TOKENS - 4:
            assert len(mask.unique(dim=0)) == 100  # the places still are each image's own
    assert len(set(counts)) > 10


def kinds(mask: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each image's mask is that of highest score, and of which images that can be told."""
    count = mask.sum(1)
    least_hidden = score.masked_fill(~mask, math.inf).amin(1)
    most_shown = score.masked_fill(mask, -math.inf).amax(1)
    return least_hidden > most_shown, (count > 4) & (count < TOKENS - 4)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_share_of_semantic_masks_per_image(share):
    batch = 4000
    score = scores(batch)
    mask = image(batch, score=score, semantic_share=share)
    semantic, told = kinds(mask, score)
    found = semantic[told].double().mean().item()
    deviation = math.sqrt(share * (1 - share) / int(told.sum()))
    assert int(told.sum()) > batch / 2
    assert abs(found - share) <= 4 * deviation
    if deviation:  # how much is hidden does not depend on how
        counts = [mask.sum(1)[told & kind].double() for kind in (semantic, ~semantic)]
        error = math.sqrt(sum(c.var().item() / len(c) for c in counts))
        assert abs(counts[0].mean() - counts[1].mean()) < 4 * error


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_semantic_masks_per_batch(share):
    score, found = scores(8), []
    for step in range(300):
        semantic, told = kinds(image(8, step, score, semantic_share=share, per="batch"), score)
        if told.all():
            assert len(semantic.unique()) == 1
            found.append(bool(semantic[0]))
    assert len(found) > 150
    assert abs(np.mean(found) - share) <= 4 * math.sqrt(share * (1 - share) / len(found))


def test_random_masks_do_not_depend_on_the_score():
    assert torch.equal(image(score=None), image(score=scores(BATCH)))


def test_semantic_masks_need_scores():
    with pytest.raises(AssertionError, match="scores"):
        image(semantic_share=0.5)


# Draws


@pytest.mark.parametrize("name", LAWS)
def test_the_same_draws_on_repeat_and_others_at_another_step_or_seed(name):
    law = LAWS[name]
    first = law(50, 3)
    torch.rand(1)
    assert torch.equal(law(50, 3), first)
    assert not torch.equal(law(50, 4), first)
    assert not torch.equal(law(50, 3, seed=1), first)


def test_image_and_latent_masks_are_drawn_apart():
    masks = [law(BATCH).sum(1).double().numpy() for law in LAWS.values()]
    assert abs(np.corrcoef(*masks)[0, 1]) < 4 / math.sqrt(BATCH)


def test_cosine_score():
    c = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    p = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [-5.0, 0.0]], [[3.0, 4.0], [4.0, 3.0], [4.0, -3.0]]])
    torch.testing.assert_close(cosine_score(c, p), torch.tensor([[1.0, 0.0, -1.0], [1.0, 0.96, 0.0]]))
