"""Generators of latents, one file each, found by name. A generator of `FLOWS` offers

    Network(size, latents, classes)
        forward(x_t, t, y) -> v        latents (B, L, Z), times t (B,) and classes y (B,) -> velocity (B, L, Z);
                                       y = classes means no class
        read(x_t, t, y, depth) -> v, h the same, and the hidden tokens (B, L, D) after block `depth`, counted from 1

They share path, target, guidance and samplers: `models.flows`. The others have a law of their own:

    Network(size, latents, classes)
        loss(x_0, y, draws) -> Loss            for normalised latents (B, L, Z) and classes (B,)
        draw(y, draws, scale, steps) -> x_0    with guidance of this scale; what `steps` counts is theirs

Those of `CODED` generate codes: their Network also takes the number of codes, and has them as `book`. This file holds
the facts about generators that are needed before torch is imported.

A user's generator says in its file what this file says of ours. It offers

    flow: bool                                     whether it is a velocity network, or has a law of its own
    cost(size, latents, classes) -> Cost           as `cost` below
    network(size, latents, classes) -> Network     and should import torch there, as planning imports the file
"""

from types import ModuleType

from models import costs
from models.config import Transformer
from models.costs import Cost
from models.forms import Latents

FLOWS = frozenset({"sit", "lightningdit"})
CODED = frozenset({"ar", "masked"})  # generators of codes
QK_NORM = frozenset({"lightningdit"})  # generators whose Network accepts qk_norm=True
ROTARY = frozenset({"lightningdit"})  # generators that rotate queries and keys, which needs an even head width
FREQUENCIES = 256  # width of the sinusoids of t in [0, 1], which is not rescaled, as in the published code
OUTSIDE: dict[str, ModuleType] = {}  # generators that users add, by name
HEADS = {768: (1024, 6), 1024: (1280, 8), 1280: (1536, 12)}  # of MAR-B, L and H: width and blocks, by their own width
HEAD_NOISES = 4  # for every token of a step of MAR
MOST_ROUNDS = 64  # in which MAR draws


def is_flow(name: str) -> bool:
    """Whether a generator is a velocity network, which shares path, target, guidance and samplers."""
    return OUTSIDE[name].flow if name in OUTSIDE else name in FLOWS


def parameters(name: str, size: Transformer, latents: Latents, classes: int, codes: int) -> int:
    """Number of weights and biases; of a LightningDiT within 1 %."""
    return cost(name, size, latents, classes, codes).parameters


def cost(name: str, size: Transformer, latents: Latents, classes: int = 0, codes: int = 0) -> Cost:
    """Parameters, and FLOPs of a forward pass for one image: of what one step of drawing evaluates."""
    if name in OUTSIDE:
        own: Cost = OUTSIDE[name].cost(size, latents, classes)
        return own
    d, length, z = size.width, latents.tokens, latents.channels
    if name in FLOWS:
        attention = Cost(0, 4.0 * length**2 * d)
        mlp = costs.linear(length, d, 4 * d) + costs.linear(length, 4 * d, d)
        block = (
            costs.linear(length, d, 3 * d) + costs.linear(length, d, d) + attention + mlp + costs.linear(1, d, 6 * d)
        )
        condition = costs.linear(1, FREQUENCIES, d) + costs.linear(1, d, d) + costs.learned(classes + 1, d)
        ends = costs.linear(length, z, d) + costs.linear(1, d, 2 * d) + costs.linear(length, d, z)
        return block.times(size.depth) + condition + ends
    if name in CODED:
        tokens = length if name == "ar" else length + 1
        embedded = costs.learned(codes + (name == "masked") + classes + 1, d) + costs.learned(codes, z)
        body = costs.blocks(size, tokens, length if name == "masked" else None)
        return embedded + body + costs.linear(length, d, codes)
    first = class_tokens(latents)
    encoder, decoder = costs.blocks(size, first + length), costs.blocks(size, first + length, length)
    tables = costs.learned(classes + 1 + first + 1, d)
    return costs.linear(length, z, d) + encoder + decoder + tables + head(size, latents)


def class_tokens(latents: Latents) -> int:
    """The tokens of the class that stand before the latents in MAR: a quarter as many, as published."""
    return max(1, latents.tokens // 4)


def rounds(name: str, tokens: int, steps: int = MOST_ROUNDS) -> int:
    """The rounds in which a masked generator draws: every round shows one token at least."""
    return min(MOST_ROUNDS if name == "mar" else steps, tokens)


def head_size(size: Transformer) -> tuple[int, int]:
    """Width and blocks of the head of MAR; of a size that was not published, as wide as that, and three blocks."""
    return HEADS.get(size.width, (size.width, 3))


def head(size: Transformer, latents: Latents) -> Cost:
    """The head of MAR, on all tokens once."""
    d, number = head_size(size)
    length, z = latents.tokens, latents.channels
    block = costs.linear(length, d, d).times(2) + costs.linear(length, d, 3 * d)
    time = costs.linear(length, FREQUENCIES, d) + costs.linear(length, d, d) + costs.linear(length, size.width, d)
    return (
        costs.linear(length, z, d)
        + time
        + block.times(number)
        + costs.linear(length, d, 2 * d)
        + costs.linear(length, d, z)
    )


def evaluations(name: str, latents: Latents, steps: int) -> tuple[int, int]:
    """How often drawing without guidance evaluates the network and, for MAR, the head on all tokens.

    For flows see their samplers.
    """
    if name in OUTSIDE:
        return steps, 0
    if name == "ar":
        return latents.tokens, 0
    return rounds(name, latents.tokens, steps), steps if name == "mar" else 0
