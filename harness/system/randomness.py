"""Random draws, each a function of (seed, stage, name, step): an exact resume needs no stored random state.

A draw covers the whole global batch and is made on the CPU, so that it is the same on every device and for every number
of processes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch


def generator(*words: object) -> torch.Generator:
    """A generator that is a function of `words` alone."""
    return torch.Generator().manual_seed(_bits(64, *words) & (2**63 - 1))


def _bits(count: int, *words: object) -> int:
    """A number of `count` bits that is a function of `words` alone."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[: count // 8], "little")


class Normal:
    """Successive draws from N(0, I) that are a function of `words` alone, by the counter-based generator Philox.

    Its key has 128 bits. The CPU generator of torch keeps 32 bits of a seed, which 50,000 images would sometimes share.
    """

    def __init__(self, *words: object):
        self.generator = np.random.Generator(np.random.Philox(key=_bits(128, *words)))

    def __call__(self, *shape: int) -> torch.Tensor:
        """The next draw, float32."""
        return torch.from_numpy(self.generator.standard_normal(shape, dtype=np.float32))


@contextlib.contextmanager
def seeded(*words: object) -> Iterator[None]:
    """Inside the block, draws without a generator, such as initial weights, are a function of `words` alone."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(*words).initial_seed())
        yield


@dataclass(frozen=True)
class Part:
    """One of `of` equal parts of a batch: every `of`-th image, so that the first images are split evenly too."""

    index: int = 0
    of: int = 1

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """The part of a tensor: (B, ...) -> (B / of, ...)."""
        return batch[self.index :: self.of]


WHOLE = Part()


@dataclass(frozen=True)
class Draws:
    """The draws of one step of one stage. `name` distinguishes draws: the same name gives the same numbers.

    A shape starts with the number of images in `part`; the shape () is one number for the whole batch.
    """

    seed: int
    stage: str
    step: int
    device: str = "cpu"
    part: Part = WHOLE

    def uniform(self, name: str, *shape: int) -> torch.Tensor:
        """U[0, 1), float32."""
        return self._draw(torch.rand, name, shape)

    def normal(self, name: str, *shape: int) -> torch.Tensor:
        """N(0, 1), float32."""
        return self._draw(torch.randn, name, shape)

    def _draw(self, law: Callable[..., torch.Tensor], name: str, shape: tuple[int, ...]) -> torch.Tensor:
        whole = (shape[0] * self.part.of, *shape[1:]) if shape else ()
        drawn = law(whole, generator=generator(self.seed, self.stage, name, self.step))
        return (self.part(drawn) if shape else drawn).to(self.device)
