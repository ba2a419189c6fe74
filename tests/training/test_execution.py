"""How a step is computed changes memory and time, and results by rounding only."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from harness.planning.stage import Execution, Work
from harness.system import plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws, Part, seeded
from harness.training.loop import Learner, _Loop
from models import generators
from models.flows.flow import VelocityObjective
from models.layers.adaptive_transformer import AdaptiveBlock
from models.layers.transformer import Block
from models.objectives.alignment import Features
from models.objectives.objective import Objective
from tests.conftest import SIDE, TOKENS, WIDTHS, experiment, images

BATCH, CLASSES = 8, 3
MACHINE = Machine("cpu", "float32", 1)
GENERATORS = sorted(generators.FLOWS)
MODELS = ["tokenizer", *GENERATORS]
WHOLE = Draws(0, "execution", 0)


def model_of(name: str) -> nn.Module:
    made = experiment("mactok")
    with seeded("execution"):
        if name == "tokenizer":
            return Objective(made.tokenizer, SIDE, WIDTHS)
        network = plugins.load("models.generators", name, "generator").Network
        generator = network(made.generator.size, made.latents, CLASSES)
        for parameter in generator.parameters():  # what starts at zero would hide what is behind it
            nn.init.normal_(parameter, std=0.05)
        return VelocityObjective(generator, 0.1, CLASSES)


def batch_of(name: str, part: Part) -> dict[str, object]:
    draws = Draws(0, "execution", 0, part=part)
    if name == "tokenizer":
        widths = {"c": (WIDTHS[1],), "p": (TOKENS, WIDTHS[0]), "s": (TOKENS,)}
        teacher = Features(**{key: part(WHOLE.normal(key, BATCH, *shape)) for key, shape in widths.items()})
        return {"x": part(images(BATCH)), "draws": draws, "teacher": teacher}
    made = experiment("mactok").tokenizer
    x_0 = part(WHOLE.normal("x", BATCH, made.tokens, made.channels))
    return {"x_0": x_0, "y": part(torch.arange(BATCH) % CLASSES), "draws": draws}


def loop_of(name: str, model: nn.Module, execution: Execution) -> _Loop:
    work = Work(experiment("mactok"), None, {}, MACHINE, lambda: False, "", execution=execution)
    factors = model.weights(10) if name == "tokenizer" else {"velocity": 1.0}
    learner = Learner(model, model, lambda step, part: batch_of(name, part), lambda step: factors, lambda model: {})
    return _Loop(work, experiment("mactok", training__batch_images=BATCH).training, learner)


def gradients(name: str, execution: Execution) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Of one step, and its terms."""
    model = model_of(name)
    loop = loop_of(name, model, execution)
    parts = [loop._backward(0, part, None) for part in loop.parts]
    terms = {key: torch.stack([part[key] for part in parts]).mean() for key in parts[0]}
    return {key: p.grad for key, p in model.named_parameters() if p.grad is not None}, terms


def furthest(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    assert set(some) == set(others)
    return max(((some[key] - others[key]).abs().max() / others[key].abs().max()).item() for key in others)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_four_parts_are_those_of_the_batch(name):
    whole, terms = gradients(name, Execution())
    parted, mean = gradients(name, Execution(accumulate=4))
    assert furthest(parted, whole) < 1e-5
    assert furthest(mean, terms) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_activations_computed_again_give_the_same_bits(name):
    kept, _ = gradients(name, Execution())
    again, _ = gradients(name, Execution(checkpointing=True))
    assert all(torch.equal(again[key], kept[key]) for key in kept)


@pytest.mark.parametrize("name", MODELS)
def test_with_checkpointing_every_block_runs_twice(name):
    model = model_of(name)
    calls = []
    blocks = [module for module in model.modules() if isinstance(module, (Block, AdaptiveBlock))]
    assert len(blocks) == (2 if name == "tokenizer" else experiment("mactok").generator.size.depth)
    for block in blocks:
        block.norm1.register_forward_hook(lambda *_: calls.append(0))
    loop_of(name, model, Execution(checkpointing=True))._backward(0, Part(), None)
    assert len(calls) == 2 * len(blocks)


@pytest.mark.filterwarnings("ignore")  # of torch about itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles by a C++ compiler, and g++ is not there")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_differ_by_rounding(checkpointing):
    name = "tokenizer"
    plain, _ = gradients(name, Execution())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, _ = gradients(name, Execution(compile=True, checkpointing=checkpointing))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert furthest(compiled, plain) < 1e-4
