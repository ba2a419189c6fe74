"""Paths, what networks predict on them, and the laws of samplers: diffusions, the last step, chosen steps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from models.flows import STOCHASTIC
from models.flows.paths import PATHS, TARGETS, Flow
from models.flows.samplers import DIFFUSIONS, SAMPLERS, Sde, heun, times
from tests.models.test_samplers import (
    GAUSSIAN,
    MIXTURE,
    NOISE,
    SAMPLES,
    Mixture,
    no_noise,
    numbers,
    on_every_target,
)


@dataclass(frozen=True)
class OnPath:
    """A Gaussian N(mean, width²) on any path, whose velocity, noise and score are known in closed form."""

    flow: Flow
    mean: float = 1.5
    width: float = 0.5

    def noise(self, x: Tensor, t: float) -> Tensor:
        """E[eps | x_t = x]."""
        a, s = self.flow.law.alpha(t), self.flow.law.sigma(t)
        return s * (x - a * self.mean) / (a**2 * self.width**2 + s**2)

    def predicted(self, x: Tensor, t: float) -> Tensor:
        noise, law = self.noise(x, t), self.flow.law
        a, s = law.alpha(t), law.sigma(t)
        x_0 = self.mean + a * self.width**2 * (x - a * self.mean) / (a**2 * self.width**2 + s**2)
        return {
            "noise": noise,
            "score": -noise / law.sigma(t),
            "velocity": law.d_alpha(t) * x_0 + law.d_sigma(t) * noise,
        }[self.flow.target]

    def velocity(self, x: Tensor, t: float) -> Tensor:
        return self.flow.velocity(self.predicted(x, t), x, t)


FLOWS = [Flow(path, target) for path in PATHS for target in TARGETS]


@pytest.mark.parametrize("flow", FLOWS, ids="-".join)
def test_on_every_path_every_prediction_draws_the_data(flow):
    target, (low, high) = OnPath(flow), flow.ends(training=False)
    at = [low + t * (high - low) for t in times(400)]
    found = heun(target.velocity, NOISE, at, no_noise)
    torch.testing.assert_close(found, 1.5 + 0.5 * NOISE, atol=0.02, rtol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
def test_derivatives_of_paths_are_derivatives(path, t):
    law, h = PATHS[path], 1e-5
    for function, derivative in ((law.alpha, law.d_alpha), (law.sigma, law.d_sigma)):
        assert derivative(t) == pytest.approx((function(t + h) - function(t - h)) / (2 * h), rel=1e-6)
    mixed = law.alpha(t) * law.d_sigma(t) - law.sigma(t) * law.d_alpha(t)
    assert law.mixed(t) == pytest.approx(mixed)
    assert law.alpha(torch.tensor(t)).item() == pytest.approx(law.alpha(t), rel=1e-6)


@pytest.mark.parametrize("path", ["gvp", "vp"])
def test_these_paths_preserve_the_variance(path):
    law = PATHS[path]
    assert all(law.alpha(t) ** 2 + law.sigma(t) ** 2 == pytest.approx(1) for t in (0.01, 0.5, 0.99))


@pytest.mark.parametrize("flow", FLOWS, ids="-".join)
def test_scores_follow_from_velocities(flow):
    target, x, t = OnPath(flow), NOISE, 0.4
    a, s = flow.law.alpha(t), flow.law.sigma(t)
    exact = -(x - a * 1.5) / (a**2 * 0.25 + s**2)
    torch.testing.assert_close(flow.score(x, target.velocity(x, t), t), exact)


@pytest.mark.parametrize("diffusion", DIFFUSIONS)
@pytest.mark.parametrize("name", sorted(STOCHASTIC))
def test_every_diffusion_has_the_same_marginals(name, diffusion):
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(20_000, generator=generator, dtype=torch.float64)

    found = SAMPLERS[name](GAUSSIAN.velocity, noise(), times(300), noise, Sde(diffusion=diffusion))
    assert found.mean().item() == pytest.approx(1.5, abs=0.03)
    assert found.std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("sde", "last", "deviation"),
    [(Sde(), None, 0.1), (Sde(diffusion="twice_sigma", last_by_mean=True), 0.04, 0.0777)],
)
def test_the_released_law_narrows_a_narrow_target(sde, last, deviation):
    """With exact scores: its last step goes too far along the drift."""
    generator, narrow = torch.Generator().manual_seed(0), Mixture(numbers(1), numbers(0), numbers(0.1))

    def noise() -> Tensor:
        return torch.randn(SAMPLES, generator=generator, dtype=torch.float64)

    found = SAMPLERS["euler_maruyama"](narrow.velocity, noise(), times(250, last=last), noise, sde)
    assert found.std().item() == pytest.approx(deviation, abs=0.0015)


def test_a_last_step_leaves_the_rest_to_the_others():
    assert times(5, last=0.04) == pytest.approx([1, 0.76, 0.52, 0.28, 0.04, 0])


@on_every_target
def test_dopri5_ends_where_the_flow_does(target, shift):
    found = SAMPLERS["dopri5"](lambda x, t: by_sample(target, x, t), NOISE, times(100), no_noise)
    torch.testing.assert_close(found, target.endpoint(NOISE), atol=2e-2, rtol=0)


def by_sample(target: Mixture, x: Tensor, t: Tensor) -> Tensor:
    return torch.stack([target.velocity(one, at.item()) for one, at in zip(x, t, strict=True)])


def test_a_sample_of_dopri5_does_not_depend_on_its_batch():
    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return by_sample(MIXTURE, x, t)

    together = SAMPLERS["dopri5"](velocity, NOISE[::10], times(100), no_noise)
    alone = torch.cat([SAMPLERS["dopri5"](velocity, one[None], times(100), no_noise) for one in NOISE[::10]])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
