"""Released checkpoints: files of named tensors, read without running code, and checked to the last name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.networks.tensor_files import SETTINGS, TENSORS, read_safetensors, read_state
from harness.system.errors import Mistake
from harness.system.texts import and_more
from models.config import Tokenizer

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
PARTS = ("ema", "model_ema", "ema_state_dict", "state_dict", "model")  # of a checkpoint, the first of them is read
WRAPPERS = ("module.", "_orig_mod.")  # of parallel and of compiled modules
SHOWN = 3  # names in a message
LONGEST = 100  # characters of a name in a message
MOST = 100  # layers that are counted, more than any released network has


class Checkpoint:
    """The tensors of a released checkpoint, by name; every one that is read is ticked off.

    A tensor that is missing or has another shape is noted, and zeros take its place: `require_fit` then names them all
    in one line, with those that nobody read and whose names do not begin with a prefix in `ignored`. `about` begins
    every message. Tensors on the device meta have shapes alone: their values are not checked.
    """

    def __init__(self, about: str, tensors: Mapping[str, Tensor], ignored: Sequence[str] = ()):
        self.about, self.ignored = about, tuple(ignored)
        self._tensors = dict(tensors)
        self._stored = {name: name for name in tensors}  # our name: that in the file
        self._taken: set[str] = set()
        self._missing: list[str] = []
        self._wrong: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def rename(self, name_of: Callable[[str], str]) -> None:
        """Gives all tensors other names; "" leaves one out. Raises `Mistake` if two get one name."""
        self._stored = {}
        for stored in self._tensors:
            if (name := name_of(stored)) and (other := self._stored.setdefault(name, stored)) != stored:
                raise Mistake(f"{self.about}: {_short(other)} and {_short(stored)} are both {_short(name)}")
        self._tensors = {name: self._tensors[stored] for name, stored in self._stored.items()}

    def rank(self, name: str) -> int:
        """How many axes a tensor has; raises `Mistake` if there is none."""
        return len(self._required(name).shape)

    def shape(self, name: str, *of: int | None) -> tuple[int, ...]:
        """The shape of a tensor from which sizes are read, which has to agree with `of`, where None stands for any.

        Raises `Mistake` at once, as nothing can be read without sizes.
        """
        shape = tuple(self._required(name).shape)
        if len(shape) != len(of) or 0 in shape or any(n not in (None, m) for n, m in zip(of, shape, strict=True)):
            wanted = ", ".join("any" if n is None else str(n) for n in of)
            raise Mistake(f"{self.about}: {_short(self._stored[name])} is {shape}, not ({wanted})")
        return shape

    def count(self, name: str) -> int:
        """How many tensors are called `name`, with 0, 1, ... in the place of {}.

        Raises `Mistake` if there is none, or if they are more than a network has.
        """
        number = 0
        while name.format(number) in self:
            number += 1
        if not number:
            self._required(name.format(0))
        if number > MOST:
            raise Mistake(f"{self.about}: it has {number:,} layers like {name.format(0)}: at most {MOST}")
        return number

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of this name, which has to have this shape, in float32."""
        tensor = self._tensors.get(name)
        self._taken.add(name)
        if tensor is None:
            self._missing.append(name)
        elif tuple(tensor.shape) != shape:
            self._wrong.append(f"{self._stored[name]} is {tuple(tensor.shape)}, not {shape}")
        elif not tensor.is_floating_point():
            self._wrong.append(
                f"{self._stored[name]} holds {str(tensor.dtype).removeprefix('torch.')}, no real numbers"
            )
        elif not tensor.is_meta and not tensor.float().isfinite().all():
            self._wrong.append(f"{self._stored[name]} has values that are NaN or infinite")
        else:
            return tensor.float()
        return torch.zeros(shape)

    def expect(self, name: str, values: Tensor) -> None:
        """Notes a tensor that is not equal to `values`, which are not among the weights here."""
        faults = len(self._missing) + len(self._wrong)
        found = self.take(name, *values.shape)
        fits = faults == len(self._missing) + len(self._wrong) and not found.is_meta
        if fits and not torch.allclose(found, values, atol=1e-3):
            self._wrong.append(f"{self._stored[name]} has other values")

    def layer(self, name: str, *shape: int) -> dict[str, Tensor]:
        """`weight` of this shape and `bias` of a layer, or of a norm."""
        return {"weight": self.take(f"{name}.weight", *shape), "bias": self.take(f"{name}.bias", shape[0])}

    def linear(self, name: str, outputs: int, inputs: int) -> dict[str, Tensor]:
        """`weight` (outputs, inputs) and `bias` of a linear layer, stored as one, or as a convolution of patches.

        Its `inputs` are then in the order (channel, row, column).
        """
        stored = self._tensors.get(f"{name}.weight")
        square = () if stored is None else tuple(stored.shape[2:])
        layer = self.layer(name, outputs, inputs // (math.prod(square) or 1), *square)
        return layer | {"weight": layer["weight"].flatten(1)}

    def require_fit(self) -> None:
        """Raises `Mistake` if a tensor was missing, had another shape, or is left over."""
        left = [s for n, s in self._stored.items() if n not in self._taken and not n.startswith(self.ignored)]
        faults = (
            ("missing", [self._nearest(name) for name in self._missing[:SHOWN]] + self._missing[SHOWN:]),
            ("superfluous", left),
            ("wrong", self._wrong),
        )
        if said := "; ".join(f"{kind}: {_shortened(names)}" for kind, names in faults if names):
            raise Mistake(f"{self.about}: {said}")

    def _required(self, name: str) -> Tensor:
        if name not in self:
            raise Mistake(f"{self.about}: missing: {self._nearest(name)}")
        return self._tensors[name]

    def _nearest(self, name: str) -> str:
        free = [n for n in self._tensors if n not in self._taken]
        near = difflib.get_close_matches(name, free, n=1, cutoff=0.8)
        return f"{name} (nearest: {self._stored[near[0]]})" if near else name


class Converted(NamedTuple):
    """A converted tokenizer: the side of its images, its configuration, and its tensors under our names."""

    image_size: int
    tokenizer: Tokenizer
    state: dict[str, Tensor]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a prefix and a dot before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def scaled(tensors: Mapping[str, Tensor], scale: Tensor | float) -> dict[str, Tensor]:
    """A layer whose output is `scale` times as large: one number, or one for every output."""

    def larger(tensor: Tensor) -> Tensor:
        return (tensor.mT * scale).mT if tensor.ndim == 2 else tensor * scale

    return {name: larger(tensor) for name, tensor in tensors.items()}


def parted(layer: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """A layer as several: its outputs are split evenly over layers with these names."""
    parts = {kind: tensor.chunk(len(names)) for kind, tensor in layer.items()}
    return {f"{name}.{kind}": part[i] for i, name in enumerate(names) for kind, part in parts.items()}


def read(file: Path) -> dict[str, Tensor]:
    """The named tensors in a checkpoint, without the prefixes of wrappers. Raises `Mistake` if it holds none."""
    tensors: dict[str, Tensor] = {}
    for stored, tensor in _state(file, _content(file)).items():
        name = _unwrapped(stored)
        if name in tensors and not torch.equal(tensors[name], tensor):
            two = f"two different tensors called {_short(name)}"
            raise Mistake(f"{file} has {two}, with and without the prefix of a wrapper")
        tensors[name] = tensor
    return tensors


def file_in(path: Path) -> Path:
    """The file `path`, or the only file of weights in the folder `path`. Raises `Mistake` if there is none."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise Mistake(f"{path} is neither a file nor a folder: give a checkpoint")
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    files = [file for file in files if file.suffix == SUFFIXES[0]] or files
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise Mistake(f"{path} has to have one file of weights ({', '.join(SUFFIXES)}), and has: {names}")
    return files[0]


def _content(file: Path) -> Any:
    """What a file holds; settings that training scripts keep beside the tensors are among it."""
    try:
        if file.suffix == SUFFIXES[0]:
            return read_safetensors(file)
        with file.open("rb") as opened:
            return read_state(opened, TENSORS | SETTINGS)
    except OSError as error:
        raise Mistake(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise Mistake(f"{file} is no checkpoint: {error}") from error


def _state(file: Path, content: Any) -> dict[str, Tensor]:
    """The named tensors in the content of a checkpoint; the moving average if there is one."""
    for _ in PARTS:  # a part may have parts; one that holds itself has no end
        if not isinstance(content, dict):
            break
        content = next((content[p] for p in PARTS if isinstance(content.get(p), dict) and content[p]), content)
    if not isinstance(content, dict) or not content:
        raise Mistake(f"{file} does not hold named tensors")
    named = {name: isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()}
    if other := [str(name) for name, fits in named.items() if not fits]:
        raise Mistake(f"{file} does not hold named tensors alone, but also {_shortened(other)}")
    return content


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name.replace("._orig_mod.", ".")


def _shortened(names: Sequence[str]) -> str:
    return and_more([_short(name) for name in names], SHOWN)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST]} ..."
