from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from harness.plugins import load, names
from models.config import Transformer
from models.generators import sit
from tests.conftest import DRAWS

PACKAGE = "models.generators"
SIZE = Transformer(width=32, depth=2, heads=4)
BATCH = 6
TOKENS = 5
CHANNELS = 7
CLASSES = 10

of_every_generator = pytest.mark.parametrize("name", names(PACKAGE))


def fresh(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load(PACKAGE, name, "generator").Network(SIZE, TOKENS, CHANNELS, CLASSES)


def stirred(name: str) -> nn.Module:
    """No weight is zero any more, as after some training."""
    network = fresh(name).eval()
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            parameter += 0.1 * DRAWS.normal(path, *parameter.shape)
    return network


def inputs(batch: int = BATCH) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, t and y, the last of which stands for no class."""
    y = torch.tensor([3, 0, 9, 3, 1, CLASSES])[-batch:]
    return DRAWS.normal("x", batch, TOKENS, CHANNELS), DRAWS.uniform("t", batch), y


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether each item is another one, by far more than rounding."""
    return bool(((a - b).abs().amax((1, 2)) > 1e-3).all())


@of_every_generator
@pytest.mark.parametrize("batch", [1, BATCH])
def test_velocity_has_the_shape_of_the_latents(name, batch):
    found = stirred(name)(*inputs(batch))
    assert found.shape == (batch, TOKENS, CHANNELS)
    assert found.isfinite().all()


@of_every_generator
def test_velocity_is_float32_under_autocast_too(name):
    network = stirred(name)
    full = network(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        half = network(*inputs())
    assert full.dtype == half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, atol=0.05 * full.abs().max().item(), rtol=0)


@of_every_generator
def test_every_parameter_learns_after_a_few_steps(name):
    network, target = fresh(name).train(), DRAWS.normal("target", BATCH, TOKENS, CHANNELS)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):  # with gates and output that start at zero, the third gradient is the first to reach all
        optimizer.zero_grad()
        loss = (network(*inputs()) - target).square().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert [path for path, p in network.named_parameters() if not p.grad.any()] == []
    assert losses[-1] < losses[0]


@of_every_generator
def test_velocity_depends_on_class_and_time(name):
    network, (x_t, t, y) = stirred(name), inputs()
    found = network(x_t, t, y)
    assert differ(network(x_t, t, (y + 1) % (CLASSES + 1)), found)
    assert differ(network(x_t, t, torch.where(y == CLASSES, 0, CLASSES)), found)
    assert differ(network(x_t, (t + 0.5) % 1, y), found)


@of_every_generator
def test_velocity_depends_on_the_place_of_a_token(name):
    network, (x_t, t, y) = stirred(name), inputs()
    order = torch.tensor([1, 2, 3, 4, 0])
    assert differ(network(x_t[:, order], t, y), network(x_t, t, y)[:, order])


@of_every_generator
def test_every_token_sees_every_other(name):
    network, (x_t, t, y) = stirred(name), inputs()
    found = network(x_t, t, y)
    for token in range(TOKENS):
        changed = x_t.clone()
        changed[:, token] += 1
        assert ((network(changed, t, y) - found).abs().amax(2) > 1e-5).all()


@of_every_generator
def test_classes_beyond_the_one_for_none_are_refused(name):
    network, (x_t, t, y) = stirred(name), inputs()
    network(x_t, t, torch.full_like(y, CLASSES))
    with pytest.raises(IndexError):
        network(x_t, t, torch.full_like(y, CLASSES + 1))


@of_every_generator
def test_items_of_a_batch_do_not_see_each_other(name):
    network, (x_t, t, y) = stirred(name), inputs()
    alone = [network(x_t[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(BATCH)]
    torch.testing.assert_close(network(x_t, t, y), torch.cat(alone), atol=1e-5, rtol=1e-5)


@of_every_generator
def test_a_copy_and_a_restored_network_are_equal(name):
    network, restored = stirred(name), fresh(name).eval()
    found = network(*inputs())
    assert not torch.equal(restored(*inputs()), found)
    restored.load_state_dict(network.state_dict())
    assert torch.equal(restored(*inputs()), found)
    assert torch.equal(deepcopy(network)(*inputs()), found)


# SiT


def test_sit_starts_at_velocity_zero():
    assert not fresh("sit")(*inputs()).any()


def test_fixed_positions_of_sit_are_not_saved():
    network = fresh("sit")
    assert "positions" in dict(network.named_buffers())
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()


@pytest.mark.parametrize(
    ("depth", "width", "heads", "millions"),
    [(12, 384, 6, 33), (12, 768, 12, 130), (24, 1024, 16, 458), (28, 1152, 16, 675)],
    ids=["S", "B", "L", "XL"],
)
def test_sit_has_the_published_number_of_parameters(depth, width, heads, millions):
    with torch.device("meta"):
        network = sit.Network(Transformer(width=width, depth=depth, heads=heads), tokens=128, channels=32, classes=1000)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
