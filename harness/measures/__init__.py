"""Networks that judge images, one file each, found by name: each looks once, for all metrics. A measure module offers

    title: str                         the network and the layer of its features, for records and tables
    about: str                         one line
    default_px: int | None             side in pixels that images are resized to; None where the caller has to say
    resizing: str                      how, for protocols
    features: int                      width D of the pooled features
    spatial: int | None                width of the features that keep their places (sFID's); None where it has none
    classes: int | None                width C of the logits; None where it has none
    weights_file(given) -> Path        where its weights are: `given`, else where they are looked for; raises `Mistake`
    checksum(path) -> str              the first 12 hexadecimal digits of the SHA-256 of a file
    load(machine, side, weights) -> (Tensor -> Seen)
                                       the network, which takes uint8 images (n, 3, H, W) of any size and sees all of
                                       them in one pass: callers split what does not fit in memory. Raises `Mistake` for
                                       weights that are missing or are not its own, and for a side it cannot look at

Nothing here downloads. Weights that do not come with a package are looked for in the folder that TOKENIZER_WEIGHTS
names, `weights` by default.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from harness.errors import Mistake

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.machine import Machine

T = TypeVar("T")
FOLDER_VARIABLE = "TOKENIZER_WEIGHTS"


class Seen(NamedTuple):
    """What a network says of n images, float32 on the CPU: features (n, D), logits (n, C), spatial features (n, S)."""

    features: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None


@dataclass(frozen=True)
class Frozen(Generic[T]):
    """A network that only looks: in evaluation mode, without gradients and in float32, whatever surrounds it."""

    net: nn.Module
    machine: Machine
    see: Callable[..., T]  # what it says of batches on the machine's device

    def __call__(self, *images: Tensor) -> T:
        """What it says of uint8 batches (n, 3, H, W); raises ValueError for anything else."""
        import torch

        for x in images:
            if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
                raise ValueError(f"uint8 images (n, 3, H, W) are looked at, not {x.dtype} {tuple(x.shape)}")
        self.net.eval()  # a module that shares the network may have been put in training mode
        with torch.no_grad(), torch.autocast(self.machine.device, enabled=False):
            return self.see(*map(self.machine.put, images))


@dataclass(frozen=True)
class WeightsFile:
    """Weights that come with no package: whose they are, the names they are looked for by, what they are upstream.

    `option` of a command gives them.
    """

    of: str
    names: tuple[str, ...]
    upstream: str
    option: str = "--weights"

    def find(self, given: Path | None, *more_folders: Path) -> Path:
        """`given`, else the first of the names in the folder of weights or in one of `more_folders`."""
        if given is not None:
            if given.is_file():
                return given
            raise Mistake(f"the weights of {self.of} are missing: {given} is not a file; it should be {self.upstream}")
        folders = [Path(os.environ.get(FOLDER_VARIABLE) or "weights"), *more_folders]
        for path in (folder / name for folder in folders for name in self.names):
            if path.is_file():
                return path
        names, places = (" or ".join(map(str, some)) for some in (self.names, folders))
        raise Mistake(
            f"the weights of {self.of} are missing: no {names} in folder {places}; put {self.upstream} there by that "
            f"name ({FOLDER_VARIABLE} names another folder) or give it by {self.option} FILE"
        )

    def read(self, path: Path) -> dict[str, Tensor]:
        """The tensors in a file by their names; no code in it is run. Raises `Mistake` where it holds anything else."""
        import torch
        from safetensors.torch import load_file

        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            held = torch.load(path, map_location="cpu", weights_only=True)
        # Readers raise all kinds of errors for damaged files, and torch's advises to run what is in the file.
        except Exception as error:
            raise self._unfit(path, f"it is damaged or holds more than tensors ({type(error).__name__})") from error
        if not isinstance(held, dict) or not all(
            isinstance(key, str) and torch.is_tensor(value) for key, value in held.items()
        ):
            raise self._unfit(path, "it does not hold tensors by their names")
        return held

    @contextmanager
    def fitting(self, path: Path) -> Iterator[None]:
        """Within it the tensors of a file are put into the network: where they do not fit it raises `Mistake`."""
        try:
            yield
        except (RuntimeError, IndexError, ArithmeticError) as error:
            # After the first line, which names a class, torch lists every tensor that does not fit.
            why = " ".join(str(error).partition("\n")[2].split()) or str(error)
            raise self._unfit(path, textwrap.shorten(why, 200, placeholder=" ...")) from error

    def _unfit(self, path: Path, why: str) -> Mistake:
        return Mistake(f"{path} is not {self.upstream}, the weights of {self.of}: {why}")


def checksum(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a file, which is read again only where it has changed."""
    stat = path.stat()
    return _checksum(path.resolve(), stat.st_size, stat.st_mtime_ns)


@cache
def _checksum(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
