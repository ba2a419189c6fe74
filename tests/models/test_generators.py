from __future__ import annotations

import math
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.experiments.keys import canonical, key_of
from harness.networks.weights import new_generator
from harness.stages import generator
from harness.system.errors import Mistake
from harness.system.machine import Machine
from harness.system.plugins import load
from harness.system.randomness import Part
from harness.training import teacher as teaching
from harness.training.batches import Order
from models.config import Transformer
from models.forms import Latents
from models.generators import FLOWS, QK_NORM, ROTARY, lightningdit, parameters
from models.layers.transformer import angles_1d
from tests.conftest import DRAWS, experiment

PACKAGE = "models.generators"
SIZE = Transformer(width=32, depth=2, heads=4)
BATCH = 6
TOKENS = 5
CHANNELS = 7
CLASSES = 10

of_every_generator = pytest.mark.parametrize("name", sorted(FLOWS))


def fresh(name: str, **options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load(PACKAGE, name, "generator").Network(SIZE, Latents(TOKENS, CHANNELS), CLASSES, **options)


def stirred(name: str, **options: object) -> nn.Module:
    """No weight is zero any more, as after some training."""
    network = fresh(name, **options).eval()
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


@of_every_generator
def test_reading_gives_the_velocity_and_the_tokens_behind_a_block(name):
    network = stirred(name)
    seen: list[Tensor] = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, __, tokens: seen.append(tokens))
    found = network(*inputs())
    behind = list(seen)
    for depth in range(1, SIZE.depth + 1):
        velocity, hidden = network.read(*inputs(), depth)
        assert torch.equal(velocity, found)
        assert hidden.shape == (BATCH, TOKENS, SIZE.width)
        assert torch.equal(hidden, behind[depth - 1])


@of_every_generator
def test_every_generator_starts_at_velocity_zero(name):
    assert not fresh(name)(*inputs()).any()


@of_every_generator
def test_fixed_positions_are_not_saved(name):
    network = fresh(name)
    assert "positions" in dict(network.named_buffers())
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()


SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}


@of_every_generator
@pytest.mark.parametrize(("size", "millions"), [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_every_generator_has_the_published_number_of_parameters(name, size, millions):
    depth, width, heads = SIZES[size]
    transformer = Transformer(width=width, depth=depth, heads=heads)
    with torch.device("meta"):
        network = load(PACKAGE, name, "generator").Network(transformer, Latents(128, 32), classes=1000)
    assert count(network) / 1e6 == pytest.approx(millions, rel=0.01)
    assert parameters(name, transformer, Latents(128, 32), 1000, 0) == pytest.approx(count(network), rel=0.01)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_formula_counts_the_parameters_of_a_sit():
    assert parameters("sit", SIZE, Latents(TOKENS, CHANNELS), CLASSES, 0) == count(fresh("sit"))


def test_sit_by_its_formula():
    network, (x_t, t, y) = stirred("sit"), inputs()
    w = network.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def silu(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift

    angles = t[:, None] * torch.tensor([10_000 ** (-i / 128) for i in range(128)])
    time = linear("time.2", silu(linear("time.0", torch.cat([angles.sin(), angles.cos()], 1))))
    c = silu(time + w["label.weight"][y])
    places = torch.tensor([[k * 10_000 ** (-i / 16) for i in range(16)] for k in range(TOKENS)])
    h = linear("embed", x_t) + torch.cat([places.sin(), places.cos()], 1)
    for k in range(SIZE.depth):
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(f"blocks.{k}.modulation", c)[:, None].split(32, -1)
        q, k_, v = linear(f"blocks.{k}.qkv", modulated(h, shift1, scale1)).split(32, -1)
        heads = []
        for part in (slice(8 * i, 8 * i + 8) for i in range(4)):
            heads.append((q[..., part] @ k_[..., part].mT / 8**0.5).softmax(-1) @ v[..., part])
        h = h + gate1 * linear(f"blocks.{k}.proj", torch.cat(heads, -1))
        inner = linear(f"blocks.{k}.mlp.0", modulated(h, shift2, scale2))
        inner = inner * (1 + (math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)).tanh()) / 2
        h = h + gate2 * linear(f"blocks.{k}.mlp.2", inner)
    shift, scale = linear("modulation", c)[:, None].split(32, -1)
    exact = linear("to_velocity", modulated(h, shift, scale))
    torch.testing.assert_close(network(x_t, t, y), exact, atol=1e-4, rtol=1e-4)


# What stands of generators before torch is imported


def accepts(name: str, size: Transformer = SIZE, **options: object) -> bool:
    try:
        load(PACKAGE, name, "generator").Network(size, Latents(TOKENS, CHANNELS), CLASSES, **options)(*inputs())
    except (TypeError, RuntimeError):
        return False
    return True


@of_every_generator
def test_generators_that_take_qk_norm_and_even_heads_alone_are_named(name):
    assert accepts(name)
    assert accepts(name, qk_norm=True) == (name in QK_NORM)
    assert accepts(name, Transformer(width=12, depth=1, heads=4)) == (name not in ROTARY)


@of_every_generator
def test_what_a_generator_cannot_do_is_refused_when_it_is_asked_for(name):
    def config(**fields: object) -> object:
        return generator.config(
            experiment(**{f"generator__{path}": v for path, v in fields.items()}, generator__name=name)
        )

    config(repa__on=True, repa__depth=2)
    with pytest.raises(Mistake, match=r"repa.depth 3 is beyond the 2 blocks"):
        config(repa__on=True, repa__depth=3)
    odd = {"size__width": 12, "size__heads": 4}
    if name in ROTARY:
        with pytest.raises(Mistake, match=f"generator {name}: a head has 12 / 4 dimensions: an even number is needed"):
            config(**odd)
    else:
        config(**odd)
    if name in QK_NORM:
        config(qk_norm=True)
    else:
        with pytest.raises(Mistake, match=f"generator {name} has no qk_norm; these have it: lightningdit"):
            config(qk_norm=True)


def test_the_experiment_decides_whether_queries_and_keys_are_normalised():
    fields = {"generator__name": "lightningdit"}
    assert new_generator(experiment(**fields), 10).blocks[0].qk_norms is None
    assert new_generator(experiment(**fields, generator__qk_norm=True), 10).blocks[1].qk_norms is not None


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"generator__repa__depth": 2, "generator__repa__weight": 9.0}, True),  # of a part that is off
        ({"generator__repa__on": True}, False),
        ({"generator__logit_normal": True}, False),
        ({"generator__direction_weight": 0.5}, False),
    ],
)
def test_options_count_where_they_are_asked_for(fields, same):
    assert (key_of(generator.config(experiment(**fields))) == key_of(generator.config(experiment()))) is same


def test_repa_reads_the_teacher_whose_name_counts_where_no_stage_has_its_features(monkeypatch):
    asked = experiment(generator__repa__on=True)
    assert generator.inputs(experiment()) == ("data", "latents")
    assert generator.inputs(asked) == ("data", "latents", "teacher_features")
    assert "teacher" not in canonical(generator.config(asked))
    monkeypatch.setattr(teaching, "needed", lambda _: ())
    assert generator.inputs(asked) == ("data", "latents")
    assert canonical(generator.config(asked))["teacher"] == asked.teacher
    assert "teacher" not in canonical(generator.config(experiment()))


def test_repa_asks_the_teacher_of_the_images_whose_latents_are_trained_on(monkeypatch):
    made, machine = experiment(generator__repa__on=True), Machine("cpu", "float32", 1)
    pixels = np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    monkeypatch.setattr("harness.data.splits.open_split", lambda *_: SimpleNamespace(images=pixels))
    told = SimpleNamespace(features=lambda batch: batch, widths=(11, 13))
    monkeypatch.setattr(teaching, "TeacherFeatures", lambda _: told)
    data = SimpleNamespace(checked_folder=lambda: None)
    teacher = generator._Teacher(SimpleNamespace(experiment=made, machine=machine, inputs={"data": data}))
    order = Order(100, made.generator.training.batch_images, made.seed, "generator", machine)
    for step, part in [(0, Part()), (5, Part(1, 2))]:
        found = teacher.features(step, part)
        assert torch.equal(found.indices, order.indices(step, part))
        assert torch.equal(found.flips, order.flips(step, part))
        assert torch.equal(((found.x[:, 0, 0, 0] + 1) * 127.5).round().long(), order.indices(step, part))
    head = teacher.repa().alignment.local_head
    assert (head[0].in_features, head[-1].out_features) == (made.generator.size.width, 11)


# LightningDiT


def test_rms_norm_by_its_formula():
    norm, x = lightningdit.RMSNorm(SIZE.width), DRAWS.normal("x", 2, 3, SIZE.width) + 1
    with torch.no_grad():
        norm.gain.copy_(DRAWS.normal("gain", SIZE.width))
    exact = torch.stack([torch.stack([v * norm.gain / (sum(v**2) / 32 + 1e-6) ** 0.5 for v in item]) for item in x])
    torch.testing.assert_close(norm(x), exact)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    assert not norm(torch.zeros(1, SIZE.width)).any()


def test_swiglu_by_its_formula():
    layer, x = lightningdit.SwiGLU(SIZE.width), DRAWS.normal("x", 2, 3, SIZE.width)
    assert layer.down.in_features == 85  # 2/3 of 4 D
    w_1, w_2 = layer.up.weight[:85], layer.up.weight[85:]
    b_1, b_2 = layer.up.bias[:85], layer.up.bias[85:]
    gate = x @ w_1.T + b_1
    exact = (gate * torch.sigmoid(gate) * (x @ w_2.T + b_2)) @ layer.down.weight.T + layer.down.bias
    torch.testing.assert_close(layer(x), exact)


@pytest.mark.parametrize("head", [0, 3])
def test_queries_and_keys_are_normalised_in_every_head(head):
    """So a head's part of the layer that makes them may be any number of times larger, and nothing changes."""
    found = {}
    for qk_norm in (False, True):
        network = stirred("lightningdit", qk_norm=qk_norm)
        before = network(*inputs())
        with torch.no_grad():
            for block in network.blocks:
                width = SIZE.width // SIZE.heads
                for first in (head * width, SIZE.width + head * width):  # of queries, of keys
                    block.qkv.weight[first : first + width] *= 5
                    block.qkv.bias[first : first + width] *= 5
        found[qk_norm] = (network(*inputs()) - before).abs().max().item()
    assert found[True] < 1e-4
    assert found[False] > 1e-3


def test_gains_of_queries_and_keys_count():
    network = stirred("lightningdit", qk_norm=True)
    found = network(*inputs())
    for norm in network.blocks[0].qk_norms:
        changed = deepcopy(norm.gain.data)
        norm.gain.data *= 3
        assert differ(network(*inputs()), found)
        norm.gain.data = changed


def test_tokens_of_lightningdit_are_turned_by_their_place():
    network = stirred("lightningdit")
    assert all(torch.equal(block.angles, angles_1d(TOKENS, SIZE.width // SIZE.heads)) for block in network.blocks)
    network.positions.zero_()
    order, (x_t, t, y) = torch.tensor([1, 2, 3, 4, 0]), inputs()
    assert differ(network(x_t[:, order], t, y), network(x_t, t, y)[:, order])
    for block in network.blocks:
        block.angles.zero_()
    torch.testing.assert_close(network(x_t[:, order], t, y), network(x_t, t, y)[:, order])
