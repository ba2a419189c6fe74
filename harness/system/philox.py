"""Philox 4x32-10 (Salmon et al. 2011), a counter-based generator: every block of numbers is a function of its counter.

Nothing is stored or advanced, so any part of a draw is made by itself, on any device, in any order. Whole numbers are
the same on all devices. The other steps are exact too, but for the logarithm, sine and cosine of a normal draw: they
are computed in float64 and rounded, so that hardly any float32 result can differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 10
BLOCK = 4  # words of a block
LOW = 2**32 - 1  # the mask of a word
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # what the halves of the key grow by in every round


Words = tuple[Any, Any, Any, Any]


def philox(counter: Words, key: int) -> Words:
    """The four words of every block, for counters of four words and a key of 64 bits.

    Words lie in int64 arrays of NumPy or tensors of torch, whose shapes broadcast.
    """
    return mixed(counter, schedule(key))


def schedule(key: int) -> list[tuple[int, int]]:
    """The halves of a key in every round."""
    k, l = key & LOW, key >> 32  # noqa: E741
    return [(k + n * WEYL[0] & LOW, l + n * WEYL[1] & LOW) for n in range(ROUNDS)]


def mixed(counter: Words, rounds: Iterable[tuple[Any, Any]]) -> Words:
    """`philox` for the halves of keys in every round: numbers, or arrays whose shapes broadcast.

    A product overflows into the sign, and the low word of one keeps its upper half until a mask removes both.
    """
    a, b, c, d = counter
    for k, l in rounds:  # noqa: E741
        p, q = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (q >> 32 ^ b ^ k) & LOW, q, (p >> 32 ^ d ^ l) & LOW, p
    return a, b & LOW, c, d & LOW


def words(key: int, places: Tensor, step: int | Tensor, count: int) -> list[Tensor]:
    """Four int64 tensors (n, blocks) of words: `count` words or a few more for each of the `places` (n,).

    `places` are whole numbers from 0 to below 2^63, `step` is one from 0 to below 2^32 or a tensor () on their device.
    """
    import torch

    blocks = torch.arange(-(-count // BLOCK), device=places.device)
    return of_counters((blocks, places[:, None] & LOW, places[:, None] >> 32), step, schedule(key))


def of_counters(
    counters: tuple[Tensor, Tensor, Tensor], step: int | Tensor, rounds: Iterable[tuple[Any, Any]] | Tensor
) -> list[Tensor]:
    """The words for blocks and for the low and high words of places, at a step; `rounds` as in `mixed`."""
    by = _by_numpy if counters[0].device.type == "cpu" else _by_torch
    return by(counters, step, rounds)


def _by_torch(counters: tuple[Tensor, ...], step: int | Tensor, rounds: Any) -> list[Tensor]:
    return list(mixed((*counters, step), rounds))  # type: ignore[arg-type]


def _by_numpy(counters: tuple[Tensor, ...], step: int | Tensor, rounds: Any) -> list[Tensor]:
    """The same. A call of NumPy costs a third of one of torch, and the draws of a small batch are nothing but calls."""
    import numpy as np
    import torch

    by_round = rounds.numpy() if isinstance(rounds, torch.Tensor) else rounds
    four = mixed((*(part.numpy() for part in counters), np.int64(step)), by_round)  # type: ignore[arg-type]
    return [torch.from_numpy(part) for part in four]


def uniform(four: list[Tensor]) -> Tensor:
    """U[0, 1) of words, float32 (n, 4 blocks): multiples of 2^-24."""
    import torch

    return ((torch.stack(four, dim=-1) >> 8).float() * 2.0**-24).flatten(1)


def normal(four: list[Tensor]) -> Tensor:
    """N(0, 1) of words, float32 (n, 4 blocks), by Box and Muller (1958): radii of two words, angles of the others."""
    import torch

    radii, angles = (torch.stack(pair, dim=-1).double() for pair in (four[:2], four[2:]))
    r = (-2 * ((radii + 0.5) * 2.0**-32).log()).sqrt()
    theta = angles * (2 * math.pi * 2.0**-32)
    return torch.cat([r * theta.cos(), r * theta.sin()], dim=-1).float().flatten(1)
