"""Both bounds of the information that latents carry about their image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from harness.evaluation import collapse
from harness.system.randomness import Draws
from models.autoencoders.posterior import Posterior

DRAWS = Draws(0, "tests", 0)


def gaussian(mean: Tensor, variance: float | Tensor) -> Posterior:
    """The posterior N(mean, variance) with mean (n, L, Z)."""
    return Posterior(mean, torch.as_tensor(variance).log().expand_as(mean).contiguous())


def bounds(posterior: Posterior) -> tuple[float, float, float]:
    """Lower bound, its standard error, upper bound."""
    noise = DRAWS.normal("noise", *posterior.mean.shape)
    return *collapse.mutual_information(posterior, noise), collapse.gaussian_rate(posterior)


def linear(images: int, variances: list[float], noise: float) -> tuple[Posterior, float]:
    """A linear-Gaussian encoder, means N(0, a rotated diag(variances)) and `noise`, and its I(x; z) in nats."""
    drawn = DRAWS.normal("means", images, len(variances)).double() * torch.tensor(variances).double().sqrt()
    basis, _ = torch.linalg.qr(DRAWS.normal("basis", len(variances), len(variances)).double())
    information = sum(math.log1p(v / noise) for v in variances) / 2
    return gaussian((drawn @ basis).unflatten(1, (2, -1)), noise), information


def test_both_bounds_are_the_information_of_a_linear_gaussian_encoder():
    posterior, information = linear(6000, [2.0, 0.5, 0.2, 0.0], 0.5)
    assert 1 < information < math.log(6000) / 4
    lower, error, upper = bounds(posterior)
    assert error < 0.02
    assert lower == pytest.approx(information, abs=3 * error)
    assert upper == pytest.approx(information, abs=0.02)


def test_above_log_n_the_upper_bound_still_tells():
    posterior, information = linear(3000, [3.0] * 6, 1e-3)
    lower, _, upper = bounds(posterior)
    assert lower == pytest.approx(math.log(3000), abs=1e-3)
    assert lower < information
    assert upper == pytest.approx(information, abs=0.05)
    assert information > 20


@pytest.mark.parametrize("clusters", [2, 8])
def test_of_clusters_the_latents_tell_which(clusters):
    centres = 100 * DRAWS.normal("centres", clusters, 2, 3)
    posterior = gaussian(centres.repeat(50, 1, 1), 0.3)
    lower, error, upper = bounds(posterior)
    assert lower == pytest.approx(math.log(clusters), abs=1e-6)
    assert error < 1e-6
    assert upper > lower


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (3.0, 0.1), (-100.0, 1e-10)])
def test_a_collapsed_posterior_tells_nothing(mean, variance):
    lower, error, upper = bounds(gaussian(torch.full((300, 2, 3), mean), variance))
    assert (lower, error, upper) == pytest.approx((0, 0, 0), abs=1e-9)


def test_next_to_nothing_is_next_to_nothing():
    """Means that hardly vary beside the noise: KL of the same size, and no unit is active."""
    posterior = gaussian(0.02 * DRAWS.normal("means", 2000, 2, 3), 1.0)
    lower, error, upper = bounds(posterior)
    assert abs(lower) < 5 * error < 0.01
    assert upper == pytest.approx(6 * 0.02**2 / 2, rel=0.2)


def uneven(images: int, tokens: int = 2, channels: int = 3) -> Posterior:
    """Posteriors of different width everywhere."""
    shape = (images, tokens, channels)
    return Posterior(DRAWS.normal("mean", *shape), DRAWS.normal("log-variance", *shape) - 1)


@pytest.mark.parametrize("images", [60, 700], ids=["one block", "blocks"])
def test_the_lower_bound_is_its_definition(images):
    posterior, noise = uneven(images), DRAWS.normal("noise", images, 2, 3)
    q = Normal(posterior.mean.double(), (posterior.log_variance.double() / 2).exp())
    z = q.mean + q.stddev * noise.double()
    log_density = q.log_prob(z[:, None]).sum((2, 3))  # (images, posteriors)
    gain = log_density.diagonal() - log_density.logsumexp(1) + math.log(images)
    value, error = collapse.mutual_information(posterior, noise)
    assert value == pytest.approx(gain.mean().item(), abs=1e-9)
    assert error == pytest.approx(gain.std().item() / images**0.5, rel=1e-6)


@pytest.mark.parametrize("images", [60, 5], ids=["more images than dimensions", "fewer"])
def test_the_upper_bound_is_the_rate_of_the_fitted_gaussian(images):
    posterior = uneven(images)
    mean, variance = posterior.mean.double().flatten(1), posterior.log_variance.double().exp().flatten(1)
    covariance = mean.T.cov(correction=0) + variance.mean(0).diag()
    fitted = MultivariateNormal(mean.mean(0), covariance)
    rate = kl_divergence(MultivariateNormal(mean, variance.diag_embed()), fitted).mean().item()
    # The covariance of the means is the unbiased one: a little larger.
    larger = (mean.T.cov() + variance.mean(0).diag()).logdet() - covariance.logdet()
    assert collapse.gaussian_rate(posterior) == pytest.approx(rate + larger.item() / 2, abs=1e-9)


def test_the_bounds_enclose_and_no_gaussian_does_better():
    for images, width in [(200, 0.3), (200, 3.0), (50, 1.0), (500, 0.1)]:
        posterior = uneven(images, 4, 2)
        posterior = Posterior(width * posterior.mean, posterior.log_variance)
        lower, error, upper = bounds(posterior)
        assert lower <= min(upper + 2 * error, math.log(images) + 1e-9)
        assert upper <= posterior.kl().sum((1, 2)).mean().item() * images / (images - 1)


def test_the_narrowest_and_widest_posteriors_stay_finite():
    for log_variance in (-30.0, 20.0):
        posterior = Posterior(10 * DRAWS.normal("mean", 100, 2, 3), torch.full((100, 2, 3), log_variance))
        lower, _, upper = bounds(posterior)
        assert math.isfinite(upper)
        assert lower == pytest.approx(math.log(100) if log_variance < 0 else 0, abs=1e-3)
