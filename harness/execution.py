"""How a process computes a training step: what saves memory or time and changes results by rounding only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Execution:
    """Recorded with every attempt, never hashed.

    The adaptive weight of an adversarial term alone depends on the parts of a batch by more than rounding: it is a
    quotient of the gradients of each.

    `accumulate`: in how many parts, one after another, a process takes its share of a batch. `checkpointing`: the
    activations within transformer blocks are computed again for the backward pass and not kept (Chen et al. 2016): a
    third more time, the same bits. `compile`: transformer blocks are compiled by torch, which needs a C++ compiler.
    """

    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False


PLAIN = Execution()
