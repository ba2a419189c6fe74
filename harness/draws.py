"""Random draws, each a function of (seed, stage, name, step): nothing about them has to be saved to resume exactly.

A draw covers the whole global batch and is made on the CPU, so that it is the same on every device, and slices of it
are the same on every number of processes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch


def generator(*words: object) -> torch.Generator:
    """A generator that is a function of `words` alone."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") & (2**63 - 1))


@contextlib.contextmanager
def seeded(*words: object) -> Iterator[None]:
    """Within it, draws that name no generator, such as those of fresh weights, are a function of `words` alone."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(*words).initial_seed())
        yield


@dataclass(frozen=True)
class Draws:
    """The draws of one step of one stage. `name` tells draws apart: asking twice gives the same numbers."""

    seed: int
    stage: str
    step: int
    device: str = "cpu"

    def uniform(self, name: str, *shape: int) -> torch.Tensor:
        """U[0, 1), float32."""
        return torch.rand(shape, generator=generator(self.seed, self.stage, name, self.step)).to(self.device)

    def normal(self, name: str, *shape: int) -> torch.Tensor:
        """N(0, 1), float32."""
        return torch.randn(shape, generator=generator(self.seed, self.stage, name, self.step)).to(self.device)
