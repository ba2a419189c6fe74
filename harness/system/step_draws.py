"""The draws of a training: its steps ask for the same ones, so that a step makes all of them in one pass.

On a GPU a draw is a hundred kernels, each with next to nothing to do, and so are all draws of a step together.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor

from harness.system import philox
from harness.system.randomness import Draws, Law, NamedDraws


class Asked(NamedTuple):
    """A draw that a step asks for."""

    law: Law
    name: str
    shape: tuple[int, ...]

    @property
    def each(self) -> int:
        """The numbers of an image."""
        return math.prod(self.shape[1:])

    @property
    def blocks(self) -> int:
        """The blocks of words of an image."""
        return -(-self.each // philox.BLOCK)


class Together:
    """Several draws, made in one pass: the numbers are those that `draws` makes one by one."""

    def __init__(self, draws: Draws, asked: list[Asked]):
        self.asked = sorted(asked, key=lambda one: one.law is philox.uniform)
        places = [draws.places(one.shape) for one in self.asked]
        self.sizes = [len(of) * one.blocks for of, one in zip(places, self.asked, strict=True)]
        self.normal = sum(n for n, one in zip(self.sizes, self.asked, strict=True) if one.law is philox.normal)
        pairs = list(zip(places, self.asked, strict=True))
        blocks = torch.cat([torch.arange(one.blocks, device=draws.device).repeat(len(of)) for of, one in pairs])
        place = torch.cat([of.repeat_interleave(one.blocks) for of, one in pairs])
        self.counters = blocks, place & philox.LOW, place >> 32
        rounds = torch.tensor([philox.schedule(draws.key(one.name)) for one in self.asked], device=draws.device)
        counts = torch.tensor(self.sizes, device=draws.device)
        self.rounds = rounds.permute(1, 2, 0).repeat_interleave(counts, dim=2)  # (rounds, 2, blocks of all)

    def at(self, step: int | Tensor) -> dict[Asked, Tensor]:
        """All draws at a step."""
        four = philox.of_counters(self.counters, step, self.rounds)
        halves = (philox.normal, slice(None, self.normal)), (philox.uniform, slice(self.normal, None))
        numbers = torch.cat([law([words[None, part] for words in four])[0] for law, part in halves])
        parts = numbers.split([philox.BLOCK * size for size in self.sizes])
        return {
            one: part.view(-1, philox.BLOCK * one.blocks)[:, : one.each].reshape(one.shape)
            for one, part in zip(self.asked, parts, strict=True)
        }


class RecurringDraws:
    """The draws of the steps of one stage, for one part of its batches; `draws` are those of any step."""

    def __init__(self, draws: Draws):
        self.draws, self.asked = draws, dict[Asked, None]()
        self.together: Together | None = None

    def at(self, step: int) -> StepDraws:
        """The draws of a step."""
        return StepDraws(dataclasses.replace(self.draws, step=step), self)

    def ask(self, asked: Asked) -> None:
        """Has a draw made with the others from the next step on."""
        self.asked[asked] = None

    def drawn(self, step: int | Tensor) -> dict[Asked, Tensor]:
        """All draws of a step that earlier ones asked for."""
        if not self.asked:
            return {}
        if self.together is None or len(self.together.asked) < len(self.asked):
            self.together = Together(self.draws, list(self.asked))
        return self.together.at(step)


class StepDraws(NamedDraws):
    """The draws of one step, by name: the numbers are those of `Draws`."""

    def __init__(self, draws: Draws, recurring: RecurringDraws):
        self.draws, self.recurring = draws, recurring
        self.drawn: dict[Asked, Tensor] | None = None

    def draw(self, law: Law, name: str, shape: tuple[int, ...]) -> Tensor:
        asked = Asked(law, name, shape)
        if self.drawn is None:
            self.drawn = self.recurring.drawn(self.draws.step)
        if asked not in self.drawn:
            self.recurring.ask(asked)
            self.drawn[asked] = self.draws.draw(*asked)
        return self.drawn[asked]
