"""Files on disk: replaced as a whole, checked by checksums, their space reserved."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike


def create(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new memory-mapped .npy file whose space on disk is reserved; raises OSError where there is not enough.

    Without the reservation a disk that fills up later would kill the process at a write to memory, without a word.
    """
    import numpy as np

    path.unlink(missing_ok=True)  # whoever still reads an older file of this name keeps it
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # Linux
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def read_json(path: Path) -> Any:
    """The content of `path`; raises ValueError where it was damaged."""
    stored = json.loads(path.read_text())
    if not isinstance(stored, dict) or stored.get("sha256") != digest(stored.get("content")):
        raise ValueError(f"{path} is not what was written")
    return stored["content"]


def write_json(path: Path, content: Any) -> None:
    """Replaces `path` by `content` and its checksum, atomically."""
    text = json.dumps({"sha256": digest(content), "content": content}, indent=1)
    with replacing(path) as temporary:
        temporary.write_text(text)


def digest(content: Any) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends well, and is on disk by then."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(paths: Sequence[Path]) -> Iterator[str]:
    """The same of every path, in order; some threads read as many files at the same time."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(checksum, paths)
