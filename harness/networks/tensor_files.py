"""Reads tensors from files that anybody may have made.

Nothing in a file is run, and reading takes no more memory than the file has bytes, and `SLACK`: every size that a file
states is compared with the size of the file before memory is taken for it, and so is what its names and plain values
take. Readers raise ValueError with the reason.
"""

from __future__ import annotations

import argparse
import io
import os
import pickletools
import struct
import zipfile
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")  # of these numbers
TENSORS = {  # what a pickle of tensors names; torch alone would also make arrays of any length
    "collections OrderedDict",
    *(f"torch._utils _rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter")),
    *(f"torch {kind}Storage" for kind in STORAGES),
}
SETTINGS = {  # what training scripts keep beside tensors
    "argparse Namespace",
    *("torch Size", "torch device"),
    *(f"torch {number}" for number in NUMBERS),
}
NAMING = {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}  # other opcodes that name code; torch writes none
POINTER = b"version https://git-lfs."  # what Git leaves in the place of a large file that it did not fetch
FETCH = "it is a pointer of Git LFS: fetch the file itself, for example with `git lfs pull`"
PICKLES = 5  # at the front of a file in torch's old format: three of its version, the object, the names of its storages
DEEPEST = 100  # tuples in tuples; Python's stack ends somewhere if they are keys
SLACK = 2**25  # bytes that names and plain values may take beyond the size of the file
VALUE = 64  # bytes that a value or an entry of a container takes, about
NAME = 16  # bytes that a tensor takes, about, for each byte of the header of safetensors that describes it


class Unsafe(ValueError):
    """What in a file is not read, in words."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The named tensors in a file of safetensors, which compares the sizes in its header with that of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        require_short_header(path)
        tensors: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    except (SafetensorError, ValueError) as error:
        with path.open("rb") as file:
            raise ValueError(_why_not(file, error, "safetensors")) from error
    if others := {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()} - set(NUMBERS):
        raise ValueError(f"it holds {', '.join(sorted(others))}; numbers are {', '.join(NUMBERS)}")
    return tensors


def require_short_header(path: Path) -> None:
    """Raises ValueError if a file of safetensors has more names than go with its size."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
    size = path.stat().st_size
    if length < size:  # else it is none, or cut off
        _require_in_all(NAME * length, size)


def read_state(file: BinaryIO, named: Set[str] = TENSORS) -> Any:
    """What torch.save wrote: tensors and plain values in lists, tuples and dictionaries.

    `named` are the functions and classes that the file may name, of those that torch takes for safe, and Namespace.
    """
    import torch

    size = file.seek(0, os.SEEK_END)
    try:
        _require_safe(file, size, named)
        file.seek(0)
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(file, weights_only=True, map_location="cpu")
    # Readers raise any kind of error for damaged files, and torch's message suggests running code in the file.
    except Exception as error:
        raise ValueError(_why_not(file, error, "torch.save")) from error
    tensors = list(_tensors(state))
    stored = sum(tensor.untyped_storage().nbytes() for tensor in _of_each_storage(tensors))
    stated = max([stored, *(tensor.numel() * tensor.element_size() for tensor in tensors)])
    if stated > size:
        raise ValueError(f"its tensors have {stated:,} bytes, the file has {size:,}")
    return state


def _why_not(file: BinaryIO, error: Exception, writer: str) -> str:
    """Why a file is not read, in words: what libraries raise for it tells a user nothing."""
    file.seek(0)
    begins = file.read(len(POINTER))
    if begins == POINTER:
        return FETCH
    if isinstance(error, Unsafe):
        return f"it is damaged or holds more than tensors ({error})"
    return f"{writer} did not write it, or it is damaged or cut off" if begins else "it is empty"


def stored_numbers(tensors: Iterable[Tensor]) -> int:
    """How many numbers are stored for tensors; those that several of them share count once."""
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in _of_each_storage(tensors))


def _of_each_storage(tensors: Iterable[Tensor]) -> list[Tensor]:
    """One of the tensors that share a storage, for every storage."""
    return list({tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}.values())


def _require_in_all(needed: int, size: int) -> None:
    """Raises ValueError if names and plain values take more bytes than a file of this size may."""
    if needed > size + SLACK:
        raise Unsafe(f"its names and plain values take more than {size + SLACK:,} bytes")


def _require_safe(file: BinaryIO, size: int, named: Set[str]) -> None:
    """Raises ValueError if pickles in the file name more than `named`, or if its members are larger than the file."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":  # the old format
        file.seek(0)
        for _ in range(PICKLES):
            _require_plain(file, size, named)
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        pickles = [member for member in members if member.filename.rpartition("/")[2].endswith(".pkl")]
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or len(pickles) != 1:
            raise ValueError("torch did not write it")
        unpacked = sum(member.file_size for member in members)
        if unpacked > size:
            raise Unsafe(f"it unpacks to {unpacked:,} bytes, the file has {size:,}")
        _require_plain(io.BytesIO(archive.read(pickles[0])), size, named)


def _require_plain(pickled: BinaryIO, size: int, named: Set[str]) -> None:
    """Reads to the end of one pickle without making anything of it.

    Objects copy the containers that they are made from, and one container can be stored once and copied many times: so
    the entries that are copied count too.
    """
    stack = _Stack()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        if opcode.name in NAMING or (opcode.name == "GLOBAL" and argument not in named):
            raise Unsafe(f"it names {str(argument or 'code')[:50]}")
        stack.apply(opcode, argument)
        _require_in_all(VALUE * (count + stack.copied), size)


class _Value(list["_Value"]):
    """What stands for a value of a pickle: its entries, if it is a container."""

    depth = 0  # of tuples in tuples


class _Stack:
    """The stack of an unpickler that makes nothing."""

    def __init__(self) -> None:
        self.copied = 0  # entries that objects copied
        self._values: list[_Value] = []
        self._stored: dict[Any, _Value] = {}
        self._mark = _Value()

    def apply(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follows one opcode. Raises an exception of some kind for a damaged pickle."""
        match opcode.name:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._stored[argument] = self._values[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self._values.append(self._stored[argument])
            case "MARK":
                self._values.append(self._mark)
            case _:
                self._values.extend(self._made(opcode, self._taken(opcode)))

    def _taken(self, opcode: pickletools.OpcodeInfo) -> _Value:
        """The values that an opcode takes from the stack, the lowest first, without a mark."""
        taken = _Value()
        if pickletools.stackslice in opcode.stack_before:
            while (value := self._values.pop()) is not self._mark:
                taken.append(value)
        single = [kind for kind in opcode.stack_before if kind not in (pickletools.markobject, pickletools.stackslice)]
        taken.extend(self._values.pop() for _ in single)
        taken.reverse()
        return taken

    def _made(self, opcode: pickletools.OpcodeInfo, taken: _Value) -> list[_Value]:
        """The values that an opcode puts onto the stack."""
        match opcode.name:
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS":
                container, *entries = taken
                container.extend(entries)
                return [container]
            case "REDUCE" | "NEWOBJ" | "BUILD":
                made, given = taken
                self.copied += len(given) + sum(map(len, given))
                return [made] if opcode.name == "BUILD" else (given[:1] or [_Value()])
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                taken.depth = 1 + max((entry.depth for entry in taken), default=0)
                if taken.depth > DEEPEST:
                    raise Unsafe("its tuples are nested too deep")
        return [taken] * len(opcode.stack_after)


def _tensors(state: Any) -> Iterator[Tensor]:
    """The tensors in nested containers; a container that is in several places is visited once."""
    import torch

    visited, waiting = set(), [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple, set)) and id(value) not in visited:
            visited.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
