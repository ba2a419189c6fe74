"""Generators with a law of their own: autoregressive, masked, and MAR."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.latents.sampling import Noise
from harness.system.plugins import load, names
from harness.system.randomness import Draws
from models import generators
from models.config import SIZES, Transformer
from models.flows.flow import OwnObjective
from models.forms import Latents
from models.layers.code_transformer import chosen
from models.layers.transformer import Blocks
from tests.conftest import DRAWS

SIZE, LATENTS, CLASSES, CODES = Transformer(16, 2, 2), Latents(6, 3), 5, 7
OWN = [name for name in names("models.generators") if name not in generators.FLOWS]
CODED = sorted(generators.CODED)
by_every_one = pytest.mark.parametrize("name", OWN)


def made(name: str, latents: Latents = LATENTS) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"codes": CODES} if name in generators.CODED else {}
        network = load("models.generators", name, "generator").Network(SIZE, latents, CLASSES, **options)
        for parameter in network.parameters():  # what starts at zero would hide what is behind it
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
        if options:
            nn.init.normal_(network.book)
        return network


def some_latents(network: nn.Module, batch: int = 4) -> Tensor:
    if hasattr(network, "book"):
        return network.looked_up((DRAWS.uniform("codes", batch, LATENTS.tokens) * CODES).long())
    return DRAWS.normal("latents", batch, *LATENTS[:2])


def draws(*indices: int) -> object:
    return Noise(0, indices, LATENTS[:2]).draws


@by_every_one
def test_a_step_has_a_finite_loss_and_gradients(name):
    network = made(name)
    objective = OwnObjective(network, 0.1, CLASSES)
    terms = objective(some_latents(network), torch.arange(4), DRAWS).terms
    assert len(terms) == 1 and next(iter(terms.values())).shape == ()
    torch.stack(list(terms.values())).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@by_every_one
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_an_image_is_the_same_whatever_is_drawn_beside_it(name, scale):
    network = made(name).eval()
    with torch.no_grad():
        together = network.draw(torch.tensor([0, 1, 2]), draws(7, 8, 9), scale, 3)
        alone = network.draw(torch.tensor([1]), draws(8), scale, 3)
        again = network.draw(torch.tensor([1]), draws(10), scale, 3)
    assert together.shape == (3, *LATENTS[:2]) and together.isfinite().all()
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)
    assert not torch.equal(alone, again)


@pytest.mark.parametrize("name", CODED)
def test_what_is_drawn_are_codes(name):
    network = made(name).eval()
    with torch.no_grad():
        z = network.draw(torch.tensor([0, 1, 2]), draws(1, 2, 3), 1.0, 3)
    torch.testing.assert_close(network.looked_up(network.indices(z)), z)


@by_every_one
def test_cost_is_that_of_the_network(name):
    network = made(name)
    codes = CODES if name in generators.CODED else 0
    cost = generators.cost(name, SIZE, LATENTS, CLASSES, codes)
    buffers = network.book.numel() if codes else 0
    assert cost.parameters == sum(p.numel() for p in network.parameters()) + buffers

    from harness.benchmarks.flop_counter import counted_flops

    with torch.no_grad():
        y, x = torch.zeros(1, dtype=torch.long), torch.zeros(1, *LATENTS[:2])
        calls = {
            "ar": lambda: network(torch.zeros(1, LATENTS.tokens - 1, dtype=torch.long), y),
            "masked": lambda: network(torch.zeros(1, LATENTS.tokens, dtype=torch.long), y),
            "mar": lambda: network.head(x, x[..., 0], network(x, y, torch.ones(1, LATENTS.tokens, dtype=torch.bool))),
        }
        assert cost.flops == pytest.approx(counted_flops(calls[name]), rel=0.02)


def test_a_code_of_the_autoregressive_one_depends_on_those_before_it_alone():
    network, y = made("ar").eval(), torch.arange(2)
    codes = (DRAWS.uniform("codes", 2, 5) * CODES).long()
    other = codes.clone()
    other[:, 3:] = (other[:, 3:] + 1) % CODES
    with torch.no_grad():
        one, two = network(codes, y), network(other, y)
        torch.testing.assert_close(one[:, :4], two[:, :4])
        assert (one[:, 4:] - two[:, 4:]).abs().amax(-1).min() > 1e-4
        torch.testing.assert_close(network(codes[:, :2], y), one[:, :3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_causal_blocks_are_those_of_prefixes(dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = Blocks(SIZE)
    x = DRAWS.normal("x", 2, 6, 16)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        whole = blocks(x, causal=True)  # gradients are on, so that bfloat16 takes its own way
        for length in (1, 3, 6):
            part = blocks(x[:, :length], causal=True)
            torch.testing.assert_close(part, whole[:, :length], atol=2e-2 if dtype != torch.float32 else 1e-5, rtol=0)


def test_codes_are_chosen_by_their_probability():
    logits = torch.log(torch.tensor([0.1, 0.0, 0.6, 0.3])).expand(1000, 4)
    found = chosen(logits, (torch.arange(1000) + 0.5) / 1000)
    assert torch.bincount(found, minlength=4).tolist() == [100, 0, 600, 300]


def test_the_masked_one_shows_every_code_in_the_end_in_few_rounds():
    network, seen = made("masked").eval(), []
    network.blocks.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        network.draw(torch.tensor([0]), draws(1), 1.0, 4)
    assert len(seen) == 4 == generators.evaluations("masked", LATENTS, 4)[0]
    assert generators.evaluations("ar", LATENTS, 4) == (6, 0)


def test_mar_learns_from_hidden_tokens_alone_and_sees_the_others():
    network = made("mar").eval()
    x, y = some_latents(network), torch.zeros(4, dtype=torch.long)
    hidden = torch.zeros(4, 6, dtype=torch.bool)
    hidden[:, :4] = True
    other = torch.where(hidden[..., None], -x, x)
    with torch.no_grad():
        torch.testing.assert_close(network(x, y, hidden), network(other, y, hidden))
        shown = torch.where(hidden[..., None], x, -x)
        assert (network(x, y, hidden) - network(shown, y, hidden)).abs().amax() > 1e-3


def all_tokens_of_every_round(network: nn.Module, y: Tensor, draws: object, scale: float, steps: int) -> Tensor:
    """Drawing by MAR whose head takes all tokens in every round, of which the round keeps its own."""
    length = LATENTS.tokens
    x, hidden = torch.zeros(len(y), *LATENTS[:2]), torch.ones(len(y), length, dtype=torch.bool)
    ranks = draws.uniform("order", len(y), length).argsort(1).argsort(1)
    for done in range(length):
        left = length - done - 1  # as many rounds as tokens
        w = 1 + (scale - 1) * (1 - left / length)
        known, without = network(x, y, hidden), network(x, torch.full_like(y, CLASSES), hidden)
        z = draws.normal(f"token noise {done}", *x.shape)
        for step in range(steps, 0, -1):
            t = torch.full(x.shape[:2], step / steps)
            v, v_0 = network.head(z, t, known), network.head(z, t, without)
            z = z - (v_0 + w * (v - v_0)) / steps
        x = torch.where((hidden & (ranks >= left))[..., None], z, x)
        hidden = ranks < left
    return x


def test_mar_draws_the_tokens_of_a_round_alone():
    network, y, heads = made("mar").eval(), torch.tensor([0, 1, 2]), []
    network.head.register_forward_pre_hook(lambda _, args: heads.append(args[0].shape[1]))
    with torch.no_grad():
        drawn, seen = network.draw(y, draws(7, 8, 9), 1.0, 3), sum(heads)
        expected = all_tokens_of_every_round(network, y, draws(7, 8, 9), 2.5, 3)
        torch.testing.assert_close(network.draw(y, draws(7, 8, 9), 2.5, 3), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            drawn, all_tokens_of_every_round(network, y, draws(7, 8, 9), 1.0, 3), atol=1e-4, rtol=1e-4
        )
    network_calls, head_calls = generators.evaluations("mar", LATENTS, 3)
    assert network_calls == LATENTS.tokens and head_calls * LATENTS.tokens == seen


def published_rounds(tokens: int, rounds: int) -> list[int]:
    """How many tokens MAR draws in every round, with a mask as the authors have it: floor(L cos), at least one each."""
    hidden, drawn = np.ones(tokens, dtype=bool), []
    for done in range(rounds):
        length = math.floor(tokens * math.cos(math.pi / 2 * (done + 1) / rounds))
        length = max(1, min(int(hidden.sum()) - 1, length))
        after = np.arange(tokens) < length if done < rounds - 1 else np.zeros(tokens, dtype=bool)
        drawn.append(int((hidden & ~after).sum()))
        hidden = after
    return drawn


@pytest.mark.parametrize("tokens", [1, 2, 6, 64, 65, 100, 128, 256])
def test_mar_draws_as_many_tokens_a_round_as_published(tokens):
    latents, heads = Latents(tokens, 3), []
    network = made("mar", latents).eval()
    network.head.register_forward_pre_hook(lambda _, args: heads.append(args[0].shape[1]))
    with torch.no_grad():
        network.draw(torch.tensor([0]), Noise(0, (1,), latents[:2]).draws, 1.0, 1)
    assert heads == published_rounds(tokens, min(64, tokens))
    assert sum(heads) == tokens


def test_mar_hides_by_the_published_law():
    """N(1, 0.25²) cut to [0.7, 1], once for all images, ceil; every image has places of its own."""
    from scipy.stats import truncnorm

    latents, network, seen = Latents(40, 3), made("mar", Latents(40, 3)), []
    network.encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["hidden"]), with_kwargs=True)
    for step in range(20):
        draws_of_step = Draws(0, "generator", step, "cpu")
        network.loss(torch.zeros(3, *latents[:2]), torch.zeros(3, dtype=torch.long), draws_of_step)
        share = truncnorm.ppf(float(draws_of_step.uniform("hidden share")), -0.3 / 0.25, 0, loc=1, scale=0.25)
        hidden = seen[-1][:, 10:]  # behind the tokens of the class
        assert hidden.sum(1).tolist() == [math.ceil(40 * share - 1e-5)] * 3
        assert hidden.all() or (hidden != hidden[0]).any()


@pytest.mark.parametrize("tokens, steps", [(6, 4), (32, 8), (128, 8), (5, 8)])
def test_the_masked_one_hides_by_the_published_cosine(tokens, steps):
    latents, hidden = Latents(tokens, 3), []
    network = made("masked", latents).eval()
    network.embed.register_forward_pre_hook(lambda _, args: hidden.append(int((args[0] == CODES).sum())))
    with torch.no_grad():
        network.draw(torch.tensor([0]), Noise(0, (1,), latents[:2]).draws, 1.0, steps)
    rounds = min(steps, tokens)
    published = [math.floor(tokens * math.cos(math.pi / 2 * done / rounds)) for done in range(rounds)]
    assert hidden == [min(count, tokens - done) for done, count in enumerate(published)]


def test_generators_of_codes_need_codes():
    from harness.planning.task import tasks
    from harness.system.errors import Mistake
    from tests.conftest import experiment

    with pytest.raises(Mistake, match="generator ar generates codes"):
        tasks([experiment("mactok", generator__name="ar")])
    with pytest.raises(Mistake, match=r"has a law of its own, without generator\.path"):
        tasks([experiment("titok", generator__name="masked", generator__path="vp")])
    assert tasks([experiment("titok", generator__name="ar")])


def test_the_head_of_mar_has_a_size_of_its_own(monkeypatch):
    monkeypatch.setitem(generators.HEADS, SIZE.width, (2 * SIZE.width, 2))
    parameters = sum(p.numel() for p in made("mar").parameters())
    assert parameters == generators.parameters("mar", SIZE, LATENTS, CLASSES, 0)


def test_mar_is_as_large_as_published():
    assert generators.parameters("mar", SIZES["B"], Latents(256, 16), 1000, 0) == pytest.approx(208e6, rel=0.01)
