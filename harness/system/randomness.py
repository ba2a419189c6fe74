"""Random draws, each a function of (seed, stage, name, step) and of an image's place in the global batch.

They are made on the device that uses them, by a counter-based generator, and each process makes only its own. So an
exact resume needs no stored random state, and neither the number of processes nor the device changes a draw
(`harness.system.philox` says how exactly).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from harness.system import philox


def generator(*words: object) -> torch.Generator:
    """A generator that is a function of `words` alone."""
    return torch.Generator().manual_seed(_bits(64, *words) & (2**63 - 1))


def _bits(count: int, *words: object) -> int:
    """A number of `count` bits that is a function of `words` alone."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[: count // 8], "little")


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

    def places(self, count: int, device: str) -> torch.Tensor:
        """The places (count,) of the part's images in the batch."""
        return torch.arange(count, device=device) * self.of + self.index


WHOLE = Part()


@dataclass(frozen=True)
class Chosen:
    """Images with given places, whole numbers from 0 to below 2^63, in place of a part of a batch.

    A tensor of places on the device that draws is not sent there again.
    """

    indices: Sequence[int] | torch.Tensor

    def places(self, count: int, device: str) -> torch.Tensor:
        """The places (count,) of all images; `count` is their number."""
        return torch.as_tensor(self.indices, device=device)


def named(*words: object) -> int:
    """A place that is a function of `words`, for images that have a name and no number."""
    return _bits(64, *words) >> 1


Law = Callable[[list[torch.Tensor]], torch.Tensor]


class NamedDraws(ABC):
    """The draws of one step, by name."""

    def uniform(self, name: str, *shape: int) -> torch.Tensor:
        """U[0, 1), float32."""
        return self.draw(philox.uniform, name, shape)

    def normal(self, name: str, *shape: int) -> torch.Tensor:
        """N(0, 1), float32."""
        return self.draw(philox.normal, name, shape)

    @abstractmethod
    def draw(self, law: Law, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """A draw by `philox.uniform` or `philox.normal`."""


@dataclass(frozen=True)
class Draws(NamedDraws):
    """The draws of one step of one stage. `name` distinguishes draws: the same name gives the same numbers.

    A shape starts with the number of images in `part`, each of which has its own numbers; the shape () is one number
    for the whole batch. `step` is from 0 to below 2^32; on a GPU it may be a tensor () there.
    """

    seed: int
    stage: str
    step: int | torch.Tensor
    device: str = "cpu"
    part: Part | Chosen = WHOLE

    def draw(self, law: Law, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        each = math.prod(shape[1:])
        return law(philox.words(self.key(name), self.places(shape), self.step, each))[:, :each].reshape(shape)

    def key(self, name: str) -> int:
        """The 64 bits that tell draws apart."""
        return _bits(64, self.seed, self.stage, name)

    def places(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The places of the images that a draw of this shape is for."""
        return (self.part if shape else WHOLE).places(shape[0] if shape else 1, self.device)
