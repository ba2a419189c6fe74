from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from models.autoencoders.bottlenecks import Codes, SoftCodes
from models.config import Annealing, Gaussian, Lagging, LatentDropout, LatentNoise
from models.config import Codes as OfCodes
from models.config import SoftCodes as OfSoftCodes
from models.objectives.disturbance import dropped, noised
from tests.conftest import DRAWS, experiment, images
from tests.models.test_objective import objective_of


def soft(codes: int = 16, books: int = 2, channels: int = 3, **fields: float) -> SoftCodes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SoftCodes(OfSoftCodes(True, books, codes, **fields), channels)


def hard(normalised: bool, codes: int = 16, channels: int = 3) -> Codes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Codes(OfCodes(True, codes, normalised, 0.25), channels)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


# Soft codes


def test_a_soft_code_is_the_mean_of_the_codes_of_its_place():
    bottleneck, z = soft(), DRAWS.normal("z", 2, 4, 3)
    found = bottleneck(z).mean.detach().numpy()
    books = unit(bottleneck.codes.detach().numpy().astype(float))
    for image in range(2):
        for token in range(4):
            codes = books[token // 2]  # the first half of the tokens has the first codebook
            weights = softmax(codes @ unit(z[image, token].numpy().astype(float)) / 0.07)
            np.testing.assert_allclose(found[image, token], weights @ codes, atol=1e-5)


def test_the_entropy_term_is_of_all_rows_of_all_codebooks_together():
    bottleneck, z = soft(), DRAWS.normal("z", 2, 4, 3)
    books, rows = unit(bottleneck.codes.detach().numpy().astype(float)), []
    for image in range(2):
        for token in range(4):
            rows.append(softmax(books[token // 2] @ unit(z[image, token].numpy().astype(float)) / 0.01))
    q, entropy = np.array(rows), lambda p: -(p * np.log(p + 1e-12)).sum(-1)
    expected = entropy(q).mean() - entropy(q.mean(0))
    assert bottleneck.loss(bottleneck(z)).item() == pytest.approx(expected, abs=2e-4)


def test_assignments_do_not_move_codes_and_the_mean_does():
    bottleneck = soft()
    z = DRAWS.normal("z", 2, 4, 3).requires_grad_()
    bottleneck.loss(bottleneck(z)).backward()
    assert bottleneck.codes.grad is None
    assert z.grad is not None and z.grad.any()
    bottleneck(z).mean.sum().backward()
    assert bottleneck.codes.grad is not None and bottleneck.codes.grad.any()


def test_codes_begin_with_length_1():
    lengths = soft().codes.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_tokens_that_codebooks_cannot_share_are_refused():
    with pytest.raises(Exception, match="8 tokens cannot be split over 3 codebooks"):
        experiment("softvq", tokenizer__soft_codes__codebooks=3)


# Codes


@pytest.mark.parametrize("normalised", [True, False])
def test_a_latent_becomes_its_nearest_code_and_gradients_go_straight_through(normalised):
    bottleneck = hard(normalised)
    z = DRAWS.normal("z", 5, 4, 3).requires_grad_()
    posterior = bottleneck(z)
    scaled = (lambda x: unit(x)) if normalised else (lambda x: x)
    codes, latents = (scaled(x.detach().numpy().astype(float)) for x in (bottleneck.codes, z))
    nearest = np.linalg.norm(latents[..., None, :] - codes, axis=-1).argmin(-1)
    assert (posterior.codes.numpy() == nearest).all()
    np.testing.assert_allclose(posterior.mean.detach().numpy(), codes[nearest], atol=1e-6)
    expected = np.mean((codes[nearest] - latents) ** 2)
    assert bottleneck.loss(posterior).item() == pytest.approx(1.25 * expected, rel=1e-5)

    posterior.mean.sum().backward()
    copy = z.detach().clone().requires_grad_()
    (nn.functional.normalize(copy, dim=-1) if normalised else copy).sum().backward()
    torch.testing.assert_close(z.grad, copy.grad)


def test_the_codebook_term_moves_codes_and_the_commitment_moves_latents():
    bottleneck = hard(normalised=False)
    z = DRAWS.normal("z", 5, 4, 3).requires_grad_()
    bottleneck.loss(bottleneck(z)).backward()
    assert z.grad is not None and bottleneck.codes.grad is not None
    posterior = bottleneck(z.detach())
    by_token = posterior.codes.flatten()
    moved = torch.zeros_like(bottleneck.codes)
    moved.index_add_(0, by_token, bottleneck.codes.detach()[by_token] - z.detach().flatten(0, 1))
    torch.testing.assert_close(bottleneck.codes.grad, 2 * moved / z.numel())


def test_codes_are_looked_up_by_index():
    bottleneck, z = hard(normalised=True), DRAWS.normal("z", 5, 4, 3)
    posterior = bottleneck(z)
    torch.testing.assert_close(bottleneck.lookup(posterior.codes), posterior.mean)


# Remedies


def test_a_linear_weight_rises_and_stays():
    annealing = Annealing(on=True, steps=100)
    assert [annealing.share(step) for step in (0, 49, 99, 100, 500)] == [0.01, 0.5, 1, 1, 1]
    assert Annealing(steps=100).share(0) == 1


def test_a_cyclical_weight_rises_four_times_in_half_of_each_cycle():
    shares = [Annealing(on=True, cyclical=True, steps=100).share(step) for step in range(300)]
    assert shares[200:] == [1.0] * 100
    for start in range(0, 200, 50):
        assert shares[start] == pytest.approx(0.04)
        assert shares[start + 25 : start + 50] == [1.0] * 25
        assert all(a < b for a, b in zip(shares[start : start + 24], shares[start + 1 : start + 25], strict=True))


@pytest.mark.parametrize("nats", [0.01, 0.25, 2.0])
def test_the_committed_rate_is_the_least_kl(nats):
    v = Gaussian(on=True, committed_nats=nats).largest_log_variance
    assert (math.exp(v) - 1 - v) / 2 == pytest.approx(nats)
    objective = objective_of("committed_rate", tokenizer__gaussian__committed_nats=nats)
    nn.init.constant_(objective.tokenizer.to_log_variance.bias, 50.0)
    assert objective.tokenizer.encode(images()).kl().min().item() >= nats * (1 - 1e-4)


def test_free_nats_cost_the_floor_and_have_no_gradient():
    objective = objective_of("free_bits", tokenizer__gaussian__free_nats=1e6)
    term = objective(images(), DRAWS, None).terms["kl"]
    assert term.item() == pytest.approx(1e6 * 8 * 4)
    term.backward()
    assert not objective.tokenizer.to_mean.weight.grad.any()
    free, usual = objective_of("free_bits", tokenizer__gaussian__free_nats=1e-9), objective_of("kl_vae")
    terms = [o(images(), DRAWS, None).terms["kl"].item() for o in (free, usual)]
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)


def test_the_decoder_lags():
    objective = objective_of("lagging_decoder")
    lagging = experiment("lagging_decoder").tokenizer.lagging
    assert Lagging(on=True, steps=6, every=3).rests(1) and not Lagging(on=True, steps=6, every=3).rests(3)
    resting = {step: bool(objective.resting(step)) for step in range(12)}
    assert resting == {step: step < lagging.steps and step % lagging.every != 0 for step in range(12)}
    assert not objective_of("kl_vae").resting(1)


def test_dropout_keeps_the_mean_and_noise_has_its_law():
    z = torch.full((4000, 2, 3), 2.0)
    found = dropped(LatentDropout(True, 0.25), z, DRAWS)
    assert found.unique().tolist() == pytest.approx([0.0, 2 / 0.75])
    assert found.mean().item() == pytest.approx(2, abs=0.05)
    noise = noised(LatentNoise(True, 3.0), z, DRAWS)
    u = DRAWS.uniform("latent noise share", 4000)[:, None, None]
    e = DRAWS.normal("latent noise", 4000, 2, 3)
    torch.testing.assert_close(noise, (1 - u) * z + 3 * u * e)
    torch.testing.assert_close(noised(LatentNoise(True, 3.0, additive=True), z, DRAWS), z + 3 * u * e)
