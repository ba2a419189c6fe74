from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from harness.experiments.experiment import UNGUIDED, Sampling
from harness.experiments.fields import with_fields
from harness.experiments.keys import canonical
from harness.latents.sampling import how, times_of
from harness.system.errors import Mistake
from harness.system.plugins import load
from models.flows.flow import LINEAR
from models.flows.samplers import SAMPLERS, euler_maruyama, heun, times
from tests.conftest import DRAWS, experiment

SAMPLES = 100_000
NOISE = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True)
class Mixture:
    """A 1D mixture of Gaussians whose flow is known in closed form, in float64."""

    shares: Tensor
    means: Tensor
    widths: Tensor

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """E[eps - x_0 | x_t = x]: of each Gaussian by linear regression, weighted by its responsibility."""
        off, variance = self.standing(x, t)
        slope = (t - (1 - t) * self.widths**2) / variance
        return (self.log_joint(x, t).softmax(-1) * (slope * off - self.means)).sum(-1)

    def standing(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """x - E[x_t] and Var[x_t] of each Gaussian."""
        return x[..., None] - (1 - t) * self.means, ((1 - t) * self.widths) ** 2 + t**2

    def log_joint(self, x: Tensor, t: float) -> Tensor:
        off, variance = self.standing(x, t)
        return self.shares.log() - off**2 / (2 * variance) - (2 * math.pi * variance).log() / 2

    def cdf(self, x: Tensor) -> Tensor:
        return (self.shares * torch.special.ndtr((x[..., None] - self.means) / self.widths)).sum(-1)

    def quantile(self, p: Tensor) -> Tensor:
        low, high = torch.full_like(p, -20), torch.full_like(p, 20)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.cdf(middle) < p
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def endpoint(self, noise: Tensor) -> Tensor:
        """Where the ODE takes `noise`: in 1D it keeps the order, so quantiles go to quantiles."""
        return self.quantile(torch.special.ndtr(noise))

    @property
    def mean(self) -> float:
        return (self.shares * self.means).sum().item()

    @property
    def variance(self) -> float:
        return (self.shares * (self.widths**2 + self.means**2)).sum().item() - self.mean**2


GAUSSIAN = Mixture(numbers(1), numbers(1.5), numbers(0.5))
MIXTURE = Mixture(numbers(0.3, 0.7), numbers(-1, 1), numbers(0.5, 0.4))
SHIFTED = {"gaussian": (GAUSSIAN, 1.0), "mixture": (MIXTURE, 1.0), "late": (MIXTURE, 0.4), "early": (MIXTURE, 3.0)}
on_every_target = pytest.mark.parametrize(("target", "shift"), SHIFTED.values(), ids=SHIFTED)
FIXED = [name for name in SAMPLERS if name != "dopri5"]  # samplers of fixed steps
by_every_sampler = pytest.mark.parametrize("name", FIXED)


class Recorder:
    """A velocity that keeps the times it is asked for."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, x: Tensor, t: float) -> Tensor:
        self.times.append(t)
        return x.cos() * t


def no_noise() -> Tensor:
    raise AssertionError("nothing is random here")


def sampled(name: str, target: Mixture, steps: int, shift: float = 1.0) -> Tensor:
    """x_0 of many draws of x_1, which are the same for every sampler."""
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(SAMPLES, generator=generator, dtype=torch.float64)

    return SAMPLERS[name](target.velocity, noise(), times(steps, shift), noise)


# Flows in closed form


def test_a_gaussian_ends_at_its_mean_plus_its_width_times_the_noise():
    exact = 1.5 + 0.5 * NOISE
    torch.testing.assert_close(GAUSSIAN.endpoint(NOISE), exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(heun(GAUSSIAN.velocity, NOISE, times(400), no_noise), exact, atol=1e-5, rtol=0)


@on_every_target
@pytest.mark.parametrize(("name", "low", "high"), [("euler", 0.8, 1.3), ("heun", 1.7, 2.5)])
def test_order_of_convergence(name, low, high, target, shift):
    exact = target.endpoint(NOISE)
    ends = (SAMPLERS[name](target.velocity, NOISE, times(steps, shift), no_noise) for steps in (16, 32, 64, 128))
    errors = [(end - exact).square().mean().sqrt().item() for end in ends]
    assert all(low < math.log2(coarse / fine) < high for coarse, fine in pairwise(errors)), errors


@on_every_target
def test_euler_maruyama_converges_in_mean_and_variance(target, shift):
    coarse, fine = (sampled("euler_maruyama", target, steps, shift) for steps in (8, 32))
    assert abs(fine.mean() - target.mean) < 4 * math.sqrt(target.variance / SAMPLES)
    errors = [abs(x_0.var().item() - target.variance) for x_0 in (coarse, fine)]
    assert errors[1] < 0.07 * target.variance
    assert 0.7 < math.log2(errors[0] / errors[1]) / 2 < 1.3


def test_sde_and_ode_have_the_same_marginals():
    p = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    found = {name: MIXTURE.cdf(sampled(name, MIXTURE, 64).quantile(p)) for name in FIXED}
    for shares in found.values():
        torch.testing.assert_close(shares, p, atol=0.01, rtol=0)
        torch.testing.assert_close(shares, found["heun"], atol=0.01, rtol=0)


@by_every_sampler
@pytest.mark.parametrize("shift", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_sampler_ends_at_the_data_where_that_is_one_point(name, steps, shift):
    point, x_1 = DRAWS.normal("point", 3, 4).double(), DRAWS.normal("noise", 2, 3, 4).double()

    def velocity(x: Tensor, t: float) -> Tensor:
        return (x - point) / t if t else x_1 - point

    x_0 = SAMPLERS[name](velocity, x_1, times(steps, shift), lambda: torch.ones_like(x_1))
    torch.testing.assert_close(x_0, point.expand(2, 3, 4), atol=1e-12, rtol=0)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_score_of_a_gaussian(t):
    x_t = DRAWS.normal("x", 2, 3, 4).double()
    exact = -(x_t - (1 - t) * 1.5) / ((1 - t) ** 2 * 0.25 + t**2)
    torch.testing.assert_close(LINEAR.score(x_t, GAUSSIAN.velocity(x_t, t), t), exact)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_score_of_a_mixture_is_the_gradient_of_its_log_density(t):
    x_t = NOISE.clone().requires_grad_()
    (exact,) = torch.autograd.grad(MIXTURE.log_joint(x_t, t).logsumexp(-1).sum(), x_t)
    torch.testing.assert_close(LINEAR.score(NOISE, MIXTURE.velocity(NOISE, t), t), exact)


# The steps


def test_three_steps_of_the_sde_by_hand():
    """Without velocity the score is -x / t, so that its drift t s / 2 takes x / 6 of every step but the last."""
    found = euler_maruyama(lambda x, t: torch.zeros_like(x), numbers(0), times(3), lambda: numbers(1))
    torch.testing.assert_close(found, numbers(math.sqrt(1 / 3) * 5 / 6 + math.sqrt(2 / 9)))


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("euler", [1, 0.75, 0.5, 0.25]),
        ("heun", [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0]),
        ("euler_maruyama", [1, 0.75, 0.5, 0.25]),
        ("sde_heun", [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]),
    ],
)
def test_times_at_which_the_velocity_is_evaluated(name, exact):
    velocity = Recorder()
    SAMPLERS[name](velocity, NOISE, times(4), lambda: NOISE)
    assert velocity.times == exact


@pytest.mark.parametrize("steps", [1, 3, 49, 250])
@pytest.mark.parametrize(("name", "each"), [("euler", 1), ("heun", 2), ("euler_maruyama", 1)])
def test_number_of_evaluations_and_range_of_times(name, each, steps):
    velocity = Recorder()
    SAMPLERS[name](velocity, NOISE, times(steps), lambda: NOISE)
    assert len(velocity.times) == each * steps
    assert velocity.times[0] == max(velocity.times) == 1
    assert min(velocity.times) == (0 if name == "heun" else 1 / steps)  # the score does not exist at 0


@by_every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("steps", [1, 5])
def test_every_sampler_keeps_shape_and_dtype_and_what_it_was_given(name, dtype, steps):
    x_1 = DRAWS.normal("noise", 2, 3, 4).to(dtype)
    given = x_1.clone()
    x_0 = SAMPLERS[name](Recorder(), x_1, times(steps), lambda: torch.ones_like(x_1))
    assert x_0.shape == (2, 3, 4)
    assert x_0.dtype == dtype
    assert x_0.isfinite().all()
    assert torch.equal(x_1, given)


# Times


@pytest.mark.parametrize("steps", [1, 2, 10, 25, 49, 250, 999])
def test_equal_steps_are_exact(steps):
    assert times(steps) == [left / steps for left in range(steps, -1, -1)]


@pytest.mark.parametrize("shift", [0.1, 0.3, 1.5, 3.0, 17.0])
@pytest.mark.parametrize("steps", [1, 4, 250])
def test_shifted_times_fall_from_1_to_0_as_published(steps, shift):
    found = times(steps, shift)
    assert (found[0], found[-1]) == (1, 0)
    assert all(after < t for t, after in pairwise(found))
    exact = [shift * t / (1 + (shift - 1) * t) for t in times(steps)]
    assert found == pytest.approx(exact, abs=1e-12)


def test_shift_above_1_moves_times_to_the_noise_and_its_inverse_back():
    assert times(4, 3.0) == pytest.approx([1, 9 / 10, 3 / 4, 1 / 2, 0])
    assert [1 - t for t in reversed(times(4, 1 / 3))] == pytest.approx(times(4, 3.0))


def equal_steps(name: str, x: Tensor, steps: int, noise: Tensor) -> Tensor:
    """The samplers for equal steps alone, whose length is 1 / steps to the bit; the velocity is a `Recorder`'s."""
    velocity = Recorder()
    for left in range(steps, 0, -1):
        t, v = left / steps, velocity(x, left / steps)
        if name == "heun":
            x = x - (v + velocity(x - v / steps, (left - 1) / steps)) / (2 * steps)
        elif name == "euler" or left == 1:
            x = x - v / steps
        elif name == "sde_heun":
            x = x + (t / steps) ** 0.5 * noise
            drifts = []
            for at in (t, (left - 1) / steps):
                v = velocity(x if not drifts else x - drifts[0] / steps, at)
                drifts.append(v - at / 2 * LINEAR.score(x if not drifts else x - drifts[0] / steps, v, at))
            x = x - (drifts[0] + drifts[1]) / (2 * steps)
        else:
            x = x - (v - t / 2 * LINEAR.score(x, v, t)) / steps + (t / steps) ** 0.5 * noise
    return x


@by_every_sampler
@pytest.mark.parametrize("steps", [1, 3, 4, 7, 25, 49, 100, 250])
def test_equal_steps_have_the_bits_of_a_sampler_that_knows_no_others(name, steps):
    x_1, noise = DRAWS.normal("x", 50, 8), DRAWS.normal("noise", 50, 8)
    found = SAMPLERS[name](Recorder(), x_1, times(steps), lambda: noise)
    assert torch.equal(found, equal_steps(name, x_1, steps, noise))


def test_the_protocol_names_what_a_sampler_draws_with():
    plain = experiment(sampling__sampler="euler_maruyama", sampling__steps=20)
    released = with_fields(plain, {"sampling.diffusion": "twice_sigma", "sampling.last_step": 0.04})
    told = "diffusion twice sigma, a last step of 0.04 along the drift"
    assert told in how(released, UNGUIDED) and "diffusion" not in how(plain, UNGUIDED)
    ode = with_fields(released, {"sampling.sampler": "euler"})
    assert "diffusion" not in how(ode, UNGUIDED) and "drift" not in how(ode, UNGUIDED)
    assert times_of(ode.sampling) == times(20) != times_of(released.sampling)
    with pytest.raises(Mistake, match="at least two steps"):
        with_fields(released, {"sampling.steps": 1})
    other = with_fields(plain, {"generator.path": "vp", "generator.target": "noise"})
    assert "vp path, network of the noise" in how(other, UNGUIDED)


def test_the_protocol_tells_the_shift_where_there_is_one():
    plain = experiment(sampling__sampler="heun", sampling__steps=20)
    shifted = with_fields(plain, {"sampling.time_shift": 2.5})
    assert how(plain, UNGUIDED) == "heun, 20 steps, no guidance, classes in equal shares"
    assert how(shifted, UNGUIDED) == "heun, 20 steps of time shift 2.5, no guidance, classes in equal shares"
    assert times_of(plain.sampling) == times(20)
    assert times_of(shifted.sampling) == times(20, 2.5)


@pytest.mark.parametrize("stage", ["samples", "guided_samples", "generator_snapshots", "guidance"])
def test_the_shift_counts_in_every_stage_that_draws(stage):
    """And is no part of a key where there is none."""
    config = load("harness.stages", stage, "stage").config
    plain = experiment(guidance__scales="1.5,2.3")
    shifted = with_fields(plain, {"sampling.time_shift": 2.5})
    assert canonical(config(shifted)) == canonical(config(plain)) | {"time_shift": 2.5}


def test_samplers_are_those_that_an_experiment_may_name():
    assert set(SAMPLERS) == set(get_args(get_type_hints(Sampling)["sampler"]))
