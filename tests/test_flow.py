from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.draws import Draws
from models.flow import Network, dropped, guided, loss, x_at
from models.samplers import euler
from tests.conftest import DRAWS

CLASSES = 10
MEAN = 1.5
WIDTH = 0.5
LATENTS = (4000, 4, 8)
SHAPE = (6, 5, 7)  # more than three channels, and every axis of its own length


# Path and loss


def test_the_path_runs_from_data_to_noise_at_a_time_of_each_item():
    x_0, eps = (DRAWS.normal(name, 3, 5, 7) for name in ("data", "noise"))
    x_t = x_at(x_0, eps, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(x_t[0], x_0[0])
    assert torch.equal(x_t[1], eps[1])
    torch.testing.assert_close(x_t[2], 0.75 * x_0[2] + 0.25 * eps[2])


def spread(t: Tensor) -> Tensor:
    """Var[x_t] of Gaussian latents."""
    return ((1 - t) * WIDTH) ** 2 + t**2


def exact(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """E[eps - x_0 | x_t] of Gaussian latents."""
    t = t[:, None, None]
    return (t - (1 - t) * WIDTH**2) / spread(t) * (x_t - (1 - t) * MEAN) - MEAN


def loss_of(network: Network, step: int = 0) -> float:
    x_0 = MEAN + WIDTH * DRAWS.normal("data", *LATENTS)
    return loss(network, x_0, torch.zeros(len(x_0), dtype=torch.long), Draws(0, "tests", step)).item()


def test_loss_of_the_exact_velocity_is_the_variance_that_x_t_leaves_open():
    t = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    left = 1 + WIDTH**2 - (t - (1 - t) * WIDTH**2) ** 2 / spread(t)
    assert loss_of(exact) == pytest.approx(left.mean().item(), rel=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, t, y: exact(x, t, y) + 0.1,
        lambda x, t, y: exact(x, t, y) * 1.1,
        lambda x, t, y: exact(x, t, y) * 0.9,
        lambda x, t, y: exact(x, (t - 0.1).clamp(0), y),
        lambda x, t, y: exact(x, (t + 0.1).clamp(max=1), y),
        lambda x, t, y: exact(x, 1 - t, y),
        lambda x, t, y: -exact(x, t, y),
    ],
    ids=["shifted", "larger", "smaller", "earlier", "later", "reversed", "negative"],
)
def test_the_exact_velocity_has_the_least_loss(wrong):
    assert loss_of(exact) < loss_of(wrong) - 1e-3


def test_loss_is_a_function_of_the_draws():
    assert loss_of(exact) == loss_of(exact)
    assert loss_of(exact) != loss_of(exact, step=1)


def test_the_network_is_given_uniform_times_and_the_classes():
    seen = []

    def network(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen.append((t, y))
        return x_t

    y = torch.arange(10_000) % CLASSES
    loss(network, torch.zeros(10_000, 1, 1), y, DRAWS)
    [(t, classes)] = seen
    assert torch.equal(classes, y)
    assert t.shape == (10_000,)
    assert 0 <= t.min() < t.max() < 1
    assert (t.sort().values - torch.arange(10_000) / 10_000).abs().max() < 0.02


# Label dropout


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_share_of_dropped_classes(share):
    y = torch.arange(10_000) % CLASSES
    found = dropped(y, share, CLASSES, DRAWS)
    gone = found == CLASSES
    assert torch.equal(found[~gone], y[~gone])
    assert found.dtype == y.dtype
    assert abs(gone.double().mean().item() - share) <= 4 * math.sqrt(share * (1 - share) / 10_000)


def test_classes_are_dropped_as_the_draws_say():
    y = torch.arange(1000) % CLASSES
    assert torch.equal(dropped(y, 0.1, CLASSES, DRAWS), dropped(y, 0.1, CLASSES, Draws(0, "tests", 0)))
    assert not torch.equal(dropped(y, 0.1, CLASSES, DRAWS), dropped(y, 0.1, CLASSES, Draws(0, "tests", 1)))


# Guidance


class Fake:
    """A velocity that moves with x and t and has an offset of its own for every class, token and channel."""

    def __init__(self) -> None:
        self.offsets = DRAWS.normal("offsets", CLASSES + 1, *SHAPE[1:])
        self.rows: list[int] = []

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        assert len(x_t) == len(t) == len(y)
        self.rows.append(len(x_t))
        return x_t.sin() + t[:, None, None] + self.offsets[y]


def guide(w: float, interval: tuple[float, float]) -> tuple[Fake, Tensor, Tensor, Callable[[Tensor, float], Tensor]]:
    network, x, y = Fake(), DRAWS.normal("x", *SHAPE), torch.tensor([3, 0, 9, 3, 1, 5])
    return network, x, y, guided(network, y, CLASSES, w, interval)


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0])
def test_scale_1_is_no_guidance_to_the_bit_at_the_cost_of_one_forward(t):
    network, x, y, velocity = guide(1.0, (0.0, 1.0))
    found = velocity(x, t)
    assert network.rows == [len(x)]
    assert torch.equal(found, network(x, torch.full((len(x),), t), y))


@pytest.mark.parametrize(
    ("t", "inside"), [(0.0, False), (0.19, False), (0.2, True), (0.5, True), (0.7, True), (0.72, False), (1.0, False)]
)
def test_only_the_interval_is_guided_and_costs_two_rows_an_item(t, inside):
    network, x, y, velocity = guide(2.3, (0.2, 0.7))
    found = velocity(x, t)
    assert network.rows == [2 * len(x) if inside else len(x)]
    assert torch.equal(found, network(x, torch.full((len(x),), t), y)) is not inside


@pytest.mark.parametrize("w", [0.5, 1.5, 2.3, 8.0])
def test_every_channel_of_every_token_is_guided(w):
    network, x, y, velocity = guide(w, (0.0, 1.0))
    found = velocity(x, 0.4)
    none = x.sin() + 0.4 + network.offsets[CLASSES]
    torch.testing.assert_close(found, none + w * (network.offsets[y] - network.offsets[CLASSES]))


def test_a_velocity_that_knows_no_class_is_not_changed_by_guidance():
    x = DRAWS.normal("x", *SHAPE)
    velocity = guided(lambda x_t, t, y: x_t.cos(), torch.arange(6), CLASSES, 4.0, (0.0, 1.0))
    assert torch.equal(velocity(x, 0.5), x.cos())


def test_the_interval_saves_an_eighth_of_guiding_everywhere():
    def rows(interval: tuple[float, float]) -> int:
        network, x, _, velocity = guide(2.3, interval)
        euler(velocity, x, 50, lambda: x)
        return sum(network.rows)

    everywhere = rows((0.0, 1.0))
    assert everywhere == 50 * 2 * SHAPE[0]
    assert rows((0.0, 0.7)) <= 0.88 * everywhere
