"""Reads tensors from files that anybody may have made.

Nothing in a file is run, and tensors take no more memory than their file has bytes: every size that a file states is
compared with the size of the file before memory is taken for it. All functions raise ValueError with the reason.
"""

from __future__ import annotations

import io
import os
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

SAFE = {  # what a pickle of tensors names; torch alone would also make arrays of any length
    "collections OrderedDict",
    *(f"torch._utils _rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter")),
    *(f"torch {kind}Storage" for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char")),
    *(f"torch {kind}Storage" for kind in ("Byte", "Bool")),
}
NAMING = {"INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}  # other opcodes that name code; torch writes none of them
PICKLES = 5  # at the front of a file in torch's old format: three of its version, the object, the names of its storages


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The named tensors in a file of safetensors, which compares the sizes in its header with that of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"it is damaged ({_line(error)})") from error
    return tensors


def read_state(file: BinaryIO) -> Any:
    """What torch.save wrote: tensors and plain values in lists, tuples and dictionaries."""
    import torch

    size = file.seek(0, os.SEEK_END)
    try:
        _require_safe(file, size)
        file.seek(0)
        state = torch.load(file, weights_only=True, map_location="cpu")
    # Readers raise any kind of error for damaged files, and torch's message suggests running code in the file.
    except Exception as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise ValueError(f"it is damaged or holds more than tensors ({why})") from error
    stated = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    if stated > size:
        raise ValueError(f"its tensors have {stated:,} bytes, the file has {size:,}")
    return state


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _require_safe(file: BinaryIO, size: int) -> None:
    """Raises ValueError if pickles in the file name more than tensors, or if its members are larger than the file."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":  # the old format
        file.seek(0)
        for _ in range(PICKLES):
            _require_tensors(file)
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > size:
            raise ValueError(f"it unpacks to {unpacked:,} bytes, the file has {size:,}")
        pickles = [member for member in members if member.filename.rpartition("/")[2].endswith(".pkl")]
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or len(pickles) != 1:
            raise ValueError("torch did not write it")
        _require_tensors(io.BytesIO(archive.read(pickles[0])))


def _require_tensors(pickled: BinaryIO) -> None:
    """Reads to the end of one pickle without making anything of it."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in NAMING or (opcode.name == "GLOBAL" and argument not in SAFE):
            raise ValueError(f"it names {str(argument or 'code')[:50]}")


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
