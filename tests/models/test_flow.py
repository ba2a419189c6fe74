from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.system.plugins import load
from harness.system.randomness import Draws
from models.config import Transformer
from models.flows.flow import LINEAR, Network, Repa, VelocityObjective, dropped, loss
from models.flows.guidance import guided
from models.flows.samplers import euler, times
from models.forms import Latents
from models.generators import FLOWS
from models.objectives.alignment import Features
from models.objectives.loss_terms import Loss
from tests.conftest import DRAWS

CLASSES = 10
MEAN = 1.5
WIDTH = 0.5
LATENTS = (4000, 4, 8)
SIZE = Transformer(width=32, depth=3, heads=4)
PATCH_WIDTH = 11
SHAPE = (6, 5, 7)  # more than three channels, and every axis of its own length


# Path and loss


def test_the_path_runs_from_data_to_noise_at_a_time_of_each_item():
    x_0, eps = (DRAWS.normal(name, 3, 5, 7) for name in ("data", "noise"))
    x_t = LINEAR.x_at(x_0, eps, torch.tensor([0.0, 1.0, 0.25]))
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


# The objective


class Echo(nn.Module):
    """A network whose velocity is the target times `factor`, and that keeps the times and classes it is given."""

    def __init__(self, x_0: Tensor, factor: Tensor | float = 1.0):
        super().__init__()
        self.x_0, self.factor = x_0, factor

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.t, self.y = t, y
        target = (x_t - self.x_0) / t[:, None, None]  # eps - x_0, by the path
        return self.factor * target


def echoed(factor: Tensor | float) -> Loss:
    x_0 = DRAWS.normal("data", *SHAPE)
    return VelocityObjective(Echo(x_0, factor), 0.0, CLASSES, direction=True)(x_0, torch.arange(6), DRAWS)


def network_of(name: str, stirred: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = load("models.generators", name, "generator").Network(SIZE, Latents(*SHAPE[1:]), CLASSES)
    if stirred:
        with torch.no_grad():
            for path, parameter in network.named_parameters():
                parameter += 0.1 * DRAWS.normal(path, *parameter.shape)
    return network


def objective_of(name: str, depth: int = 1, stirred: bool = True) -> VelocityObjective:
    """The objective with all of its terms."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        repa = Repa(depth, SIZE.width, 16, PATCH_WIDTH)
    return VelocityObjective(network_of(name, stirred), 0.1, CLASSES, logit_normal=True, direction=True, repa=repa)


def latents() -> tuple[Tensor, Tensor]:
    return DRAWS.normal("data", *SHAPE), torch.tensor([3, 0, 9, 3, 1, 5])


def teacher() -> Features:
    c, p, s = DRAWS.normal("c", 6, 7), DRAWS.normal("p", 6, 20, PATCH_WIDTH), DRAWS.uniform("s", 6, 20)
    return Features(c, p, s)


of_every_generator = pytest.mark.parametrize("name", sorted(FLOWS))


@of_every_generator
def test_the_term_velocity_is_the_loss_with_classes_dropped(name):
    network, (x_0, y) = network_of(name), latents()
    terms = VelocityObjective(network, 0.5, CLASSES)(x_0, y, DRAWS).terms
    assert terms.keys() == {"velocity"}
    assert torch.equal(terms["velocity"], loss(network, x_0, dropped(y, 0.5, CLASSES, DRAWS), DRAWS))


def test_terms_are_those_that_are_asked_for_and_none_changes_another():
    x_0, y = latents()
    objective = objective_of("sit")
    found = objective(x_0, y, DRAWS, teacher()).terms
    assert found.keys() == {"velocity", "direction", "repa"}
    objective.repa = None
    assert objective(x_0, y, DRAWS).terms == {name: found[name] for name in ("velocity", "direction")}
    objective.direction = False
    assert objective(x_0, y, DRAWS).terms == {"velocity": found["velocity"]}


@pytest.mark.parametrize("logit_normal", [False, True])
def test_law_of_the_times(logit_normal):
    network = Echo(torch.zeros(10_000, 1, 1))
    objective = VelocityObjective(network, 0.0, CLASSES, logit_normal=logit_normal)
    objective(network.x_0, torch.zeros(10_000, dtype=torch.long), DRAWS)
    levels = (torch.arange(10_000) + 0.5) / 10_000
    exact = levels.logit() if not logit_normal else torch.special.ndtri(levels)
    found = network.t.clamp(1e-6, 1 - 1e-6).logit().sort().values
    middle = slice(200, -200)  # quantiles of the tails are wide
    torch.testing.assert_close(found[middle], exact[middle], atol=0.15, rtol=0)


# Direction


def test_direction_is_of_the_channels_of_every_token():
    """A factor for each token changes no direction; one for each channel does, and so a wrong axis would show."""
    b, length, z = SHAPE
    of_tokens = DRAWS.uniform("of tokens", b, length, 1) + 0.1
    of_channels = torch.linspace(0.1, 1.1, z).expand(1, 1, z)
    assert echoed(of_tokens).terms["direction"].item() == pytest.approx(0, abs=1e-5)
    assert echoed(of_channels).terms["direction"].item() > 0.05


@pytest.mark.parametrize("factor", [-1.0, 0.3, 1.0])
def test_direction_runs_from_0_to_2_and_ignores_length(factor):
    terms = echoed(factor).terms
    assert terms["direction"].item() == pytest.approx(1 - math.copysign(1, factor), abs=1e-5)
    target = DRAWS.normal("noise", *SHAPE) - DRAWS.normal("data", *SHAPE)
    assert terms["velocity"].item() == pytest.approx(((factor - 1) ** 2 * target**2).mean().item(), rel=1e-3, abs=1e-6)


# REPA


def test_repa_is_minus_the_mean_cosine_of_tokens_repeated():
    objective, (x_0, y), p = objective_of("sit"), latents(), teacher().p
    seen = []
    objective.network.blocks[0].register_forward_hook(lambda _, __, h: seen.append(h))
    found = objective(x_0, y, DRAWS, teacher()).terms["repa"]
    w = dict(objective.repa.named_parameters())
    prefix = "alignment.local_head."
    h = seen[0]
    for layer in (0, 2, 4):
        h = h @ w[f"{prefix}{layer}.weight"].T + w[f"{prefix}{layer}.bias"]
        h = h * h.sigmoid() if layer < 4 else h
    cosines = [
        (h[b, i // 4] @ p[b, i] / h[b, i // 4].norm() / p[b, i].norm()).item() for b in range(6) for i in range(20)
    ]
    assert found.item() == pytest.approx(-sum(cosines) / len(cosines), abs=1e-6)


@of_every_generator
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_repa_teaches_the_blocks_up_to_its_depth_and_none_beyond(name, depth):
    objective = objective_of(name, depth)
    objective(*latents(), DRAWS, teacher()).terms["repa"].backward()
    network = objective.network
    for number, block in enumerate(network.blocks, start=1):
        if number <= depth:
            assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in block.parameters())
        else:
            assert all(p.grad is None for p in block.parameters())
    assert all(p.grad is None for p in [*network.modulation.parameters(), *network.to_velocity.parameters()])
    assert all(p.grad.any() for p in [*network.embed.parameters(), *objective.repa.parameters()])


@of_every_generator
@pytest.mark.parametrize("stirred", [False, True], ids=["fresh", "stirred"])
def test_gradients_of_all_terms_are_finite_and_reach_the_head_too(name, stirred):
    """Of a fresh network as well, whose velocity is zero and has no direction."""
    objective = objective_of(name, stirred=stirred)
    terms = objective(*latents(), DRAWS, teacher()).terms
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert all(p.grad.any() for p in objective.repa.parameters())


def test_the_head_of_repa_is_no_part_of_the_network():
    objective = objective_of("sit")
    assert objective.network.state_dict().keys() == network_of("sit").state_dict().keys()
    assert len(list(objective.parameters())) == len(list(objective.network.parameters())) + 6


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


@pytest.mark.parametrize(("w", "rows"), [(1.0, 1), (2.3, 2)])
def test_times_that_differ_cost_no_more_rows_and_guide_those_inside(w, rows):
    network, x, _, velocity = guide(w, (0.2, 0.7))
    t = torch.linspace(0, 1, len(x))
    found = velocity(x, t)
    assert network.rows == [rows * len(x)]
    for k, one in enumerate(t.tolist()):
        torch.testing.assert_close(found[k], velocity(x, one)[k])


@pytest.mark.parametrize("w", [0.5, 1.5, 2.3, 8.0])
def test_every_channel_of_every_token_is_guided(w):
    network, x, y, velocity = guide(w, (0.0, 1.0))
    found = velocity(x, 0.4)
    none = x.sin() + 0.4 + network.offsets[CLASSES]
    torch.testing.assert_close(found, none + w * (network.offsets[y] - network.offsets[CLASSES]))


@pytest.mark.parametrize("channels", [1, SHAPE[2]])
def test_the_other_channels_have_the_velocity_of_the_class(channels):
    network, x, y, everywhere = guide(2.3, (0.0, 1.0))
    found = guided(network, y, CLASSES, 2.3, (0.0, 1.0), channels=channels)(x, 0.4)
    assert torch.equal(found[..., :channels], everywhere(x, 0.4)[..., :channels])
    plain = network(x, torch.full((len(x),), 0.4), y)
    torch.testing.assert_close(found[..., channels:], plain[..., channels:])


def test_a_velocity_that_knows_no_class_is_not_changed_by_guidance():
    x = DRAWS.normal("x", *SHAPE)
    velocity = guided(lambda x_t, t, y: x_t.cos(), torch.arange(6), CLASSES, 4.0, (0.0, 1.0))
    assert torch.equal(velocity(x, 0.5), x.cos())


def test_the_interval_saves_an_eighth_of_guiding_everywhere():
    def rows(interval: tuple[float, float]) -> int:
        network, x, _, velocity = guide(2.3, interval)
        euler(velocity, x, times(50), lambda: x)
        return sum(network.rows)

    everywhere = rows((0.0, 1.0))
    assert everywhere == 50 * 2 * SHAPE[0]
    assert rows((0.0, 0.7)) <= 0.88 * everywhere
