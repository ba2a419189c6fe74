"""The closed forms of the best linear tokenizers, against a decomposition and a water level of the tests' own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.evaluation import collapse
from models.autoencoders.linear import LinearTokenizer
from models.autoencoders.posterior import Posterior
from tests.conftest import DRAWS

IMAGES, SIDE = 400, 4
PIXELS = 3 * SIDE**2


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Images (n, 3, S, S) with a spectrum that falls by a factor of 500, and a mean that is not 0."""
    mixing = DRAWS.normal("mixing", PIXELS, PIXELS) * torch.logspace(0, -2.7, PIXELS) / 4
    flat = DRAWS.normal("images", IMAGES, PIXELS) @ mixing.T + 0.3 * DRAWS.uniform("mean", PIXELS)
    return flat.unflatten(1, (3, SIDE, SIDE))


def decomposed(x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), components (D, D) as rows and variances (D,), by numpy's SVD in float64."""
    flat = x.flatten(1).double().numpy()
    _, singular, rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    return flat.mean(0), rows, singular**2 / (len(flat) - 1)


def linear(x: Tensor, numbers: int = PIXELS, level: float = 0.0) -> LinearTokenizer:
    mean, rows, variances = map(torch.from_numpy, decomposed(x))
    return LinearTokenizer(mean, rows[:numbers], variances[:numbers], level)


def samples(posterior: Posterior) -> Tensor:
    return posterior.sample(DRAWS.normal("posterior", *posterior.mean.shape))


def covariance(images: Tensor) -> Tensor:
    return images.flatten(1).double().T.cov()


# Principal components


@pytest.mark.parametrize("numbers", [1, 3, 20, PIXELS])
def test_without_a_level_it_is_principal_component_analysis(x, numbers):
    tokenizer = linear(x, numbers)
    posterior = tokenizer.encode(x)
    assert posterior.log_variance is None
    assert posterior.mean.shape == (IMAGES, numbers, 1)
    mean, rows, _ = decomposed(x)
    centred = x.flatten(1).numpy() - mean
    projected = centred @ rows[:numbers].T @ rows[:numbers]
    decoded = tokenizer.decode(posterior.mean)
    assert decoded.shape == x.shape
    np.testing.assert_allclose(decoded.flatten(1).numpy(), mean + projected, atol=1e-5)
    error = (decoded - x).double().square().mean().item()
    assert error == pytest.approx(np.square(centred - projected).mean(), rel=1e-4, abs=1e-10)


def test_no_linear_autoencoder_with_as_few_numbers_is_better(x):
    """Least squares from other projections: random ones, and the best ones turned a little."""
    error = (linear(x, 5).decode(linear(x, 5).encode(x).mean) - x).square().mean().item()
    flat, (mean, rows, _) = x.flatten(1).double().numpy(), decomposed(x)
    for turned in (1e-2, 0.3, 10):
        directions = rows[:5] + turned * DRAWS.normal("turned", 5, PIXELS).double().numpy()
        codes = (flat - mean) @ directions.T
        left = flat - mean - codes @ np.linalg.lstsq(codes, flat - mean, rcond=None)[0]
        assert np.square(left).mean() > error


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_the_latents_are_white_over_the_data(x, level):
    posterior = linear(x, level=level).encode(x)
    z = posterior.mean[..., 0].double()
    spread = torch.zeros(z.shape[1]) if level == 0 else posterior.log_variance[0, :, 0].exp().double()
    torch.testing.assert_close(z.mean(0), torch.zeros_like(z[0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.T.cov() + spread.diag(), torch.eye(z.shape[1]).double(), rtol=0, atol=1e-3)


def test_noise_decodes_to_the_gaussian_of_the_data(x):
    tokenizer = linear(x)
    drawn = tokenizer.decode(torch.randn(200_000, PIXELS, 1, generator=torch.Generator().manual_seed(0)))
    scale = covariance(x).trace() / PIXELS
    torch.testing.assert_close(covariance(drawn) / scale, covariance(x) / scale, rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.mean(0), x.mean(0), rtol=0, atol=0.01)


@pytest.mark.parametrize(("numbers", "level"), [(6, 0.0), (PIXELS, 0.05), (6, 0.05)])
def test_what_noise_decodes_to_has_the_covariance_as_far_as_the_components_reach(x, numbers, level):
    """Exactly: the decoder is linear, so its products with unit vectors say what becomes of N(0, I).

    At a level decoded latents lack the level in every direction: what the posterior throws away, no prior brings back.
    """
    tokenizer = linear(x, numbers, level)
    k = len(tokenizer.components)
    decoding = (tokenizer.decode(torch.eye(k)[..., None]) - tokenizer.decode(torch.zeros(1, k, 1))).flatten(1).double()
    _, rows, variances = decomposed(x)
    kept = np.clip(variances[:numbers] - level, 0, None)
    np.testing.assert_allclose((decoding.T @ decoding).numpy(), (rows[:numbers].T * kept) @ rows[:numbers], atol=1e-5)
    assert torch.equal(tokenizer.decode(torch.zeros(1, k, 1)).flatten(), tokenizer.mean)


# At a water level


@pytest.mark.parametrize("numbers", [4, PIXELS])
@pytest.mark.parametrize("level", [0.001, 0.05, 0.5])
def test_the_kl_over_the_data_is_water_filling(x, numbers, level):
    _, _, variances = decomposed(x)
    nats = linear(x, numbers, level).encode(x).kl().sum((1, 2)).double().mean().item()
    by_hand = sum(math.log(v / level) / 2 for v in variances[:numbers] if v > level)
    # The means vary by the biased covariance of these images, and water-filling is on the unbiased one.
    less = sum((1 - level / v) / 2 for v in variances[:numbers] if v > level) / IMAGES
    assert nats == pytest.approx(by_hand - less, rel=1e-4)
    assert collapse.linear_gaussian_kl(variances, level, numbers) == pytest.approx(by_hand, rel=1e-9)
    assert nats > 1


@pytest.mark.parametrize("numbers", [4, PIXELS])
@pytest.mark.parametrize("level", [0.001, 0.05, 0.5])
def test_the_error_of_decoded_samples_is_what_lies_under_water(x, numbers, level):
    """A component above the level keeps an error of the level, the others their variance."""
    tokenizer = linear(x, numbers, level)
    posterior = tokenizer.encode(x)
    errors = [
        (tokenizer.decode(posterior.sample(DRAWS.normal(f"sample {i}", *posterior.mean.shape))) - x).square().mean()
        for i in range(50)
    ]
    _, _, variances = decomposed(x)
    under = np.minimum(variances[:numbers], level).sum() + variances[numbers:].sum()
    assert torch.stack(errors).double().mean().item() == pytest.approx(under / PIXELS, rel=0.01)


def test_no_other_gaussian_bottleneck_on_the_components_is_better(x):
    """Error plus weight times KL in closed form, with noise and decoder of every component changed."""
    level = 0.05
    tokenizer, (_, _, variances) = linear(x, level=level), decomposed(x)
    above = variances[variances > level]

    def loss(noise: np.ndarray, decoding: np.ndarray, encoding: np.ndarray) -> float:
        second = encoding**2 * above
        error = above * (1 - encoding * decoding) ** 2 + decoding**2 * noise
        return float((error + level * (second + noise - 1 - np.log(noise))).sum())

    noise = tokenizer.encode(x).log_variance[0, :, 0].exp().double().numpy()
    decoding, encoding = tokenizer.decoding.double().numpy(), tokenizer.encoding.double().numpy()
    best = loss(noise, decoding, encoding)
    for factors in ((1.05, 1, 1), (0.95, 1, 1), (1, 1.05, 1), (1, 0.95, 1), (1, 1, 1.05), (1, 1, 0.95)):
        changed = (value * factor for value, factor in zip((noise, decoding, encoding), factors, strict=True))
        assert loss(*changed) > best


@pytest.mark.parametrize("level", [0.0, 0.05, 1e6])
def test_as_many_components_as_rise_above_the_level(x, level):
    _, _, variances = decomposed(x)
    assert len(linear(x, level=level).components) == (variances > level).sum()


# Few and none


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_one_component(x, level):
    tokenizer = linear(x, 1, level)
    posterior = tokenizer.encode(x[:3])
    assert posterior.mean.shape == (3, 1, 1)
    assert tokenizer.decode(samples(posterior)).shape == (3, 3, SIDE, SIDE)


def test_below_the_level_all_images_are_the_mean(x):
    tokenizer = linear(x, level=1e6)
    posterior = tokenizer.encode(x)
    assert posterior.mean.shape == posterior.log_variance.shape == (IMAGES, 0, 1)
    assert posterior.kl().sum((1, 2)).tolist() == [0.0] * IMAGES
    decoded = tokenizer.decode(samples(posterior))
    assert torch.equal(decoded, tokenizer.mean.unflatten(0, (3, SIDE, SIDE)).expand_as(decoded))
    torch.testing.assert_close(decoded[0], x.mean(0))


# Precision, device and copies


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_autocast_to_bfloat16_changes_no_bit(x, level):
    tokenizer = linear(x, level=level)
    posterior = tokenizer.encode(x)
    decoded = tokenizer.decode(posterior.mean)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16  # products are, outside of it
        again = tokenizer.encode(x)
        decoded_again = tokenizer.decode(again.mean)
    for one, other in zip((*posterior, decoded), (*again, decoded_again), strict=True):
        assert one is other is None or (one.dtype == other.dtype == torch.float32 and torch.equal(one, other))


def test_whatever_the_precision_of_its_input_it_computes_in_float32(x):
    tokenizer = linear(x)
    assert tokenizer.encode(x.bfloat16()).mean.dtype == torch.float32
    assert tokenizer.decode(tokenizer.encode(x).mean.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_all_of_it_moves_and_none_of_it_learns(x, level):
    tokenizer = linear(x, level=level)
    assert list(tokenizer.parameters()) == []
    names = {"mean", "components", "encoding", "decoding", *(["log_variance"] if level else [])}
    assert {name for name, _ in tokenizer.named_buffers()} == names
    moved = tokenizer.to("meta")
    assert {name for name in names if getattr(moved, name).device.type == "meta"} == names
