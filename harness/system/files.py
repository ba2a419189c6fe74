"""Files on disk: replaced as a whole, checked by checksums, their space reserved."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.system.paths import short_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike


def create(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new memory-mapped .npy file with reserved disk space; raises OSError, with the path, if there is too little.

    Without the reservation, a write to memory on a full disk would kill the process without a message.
    """
    import numpy as np

    path.unlink(missing_ok=True)  # a process that still reads the old file keeps it
    try:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # Linux
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return array


def read_array(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray:
    """The array in a .npy file, mapped into memory: read-only, or writable without effect on the file ("c").

    Raises ValueError if the file is damaged, shorter than its header says, or holds Python objects.
    """
    import numpy as np

    try:
        return np.lib.format.open_memmap(path, mode)
    except Exception as error:  # the header of a damaged file raises any kind of error
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz file that is not compressed, by name.

    Raises ValueError if the file is damaged, would unpack to more than its size, or holds Python objects.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise zipfile.BadZipFile
        with np.load(path) as stored:
            return dict(stored)
    except Exception as error:  # a damaged file raises any kind of error
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from error


def read_json(path: Path) -> Any:
    """The content of `path`; raises ValueError if it is damaged."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep") from None
    if not isinstance(stored, dict) or stored.get("sha256") != digest(stored.get("content")):
        raise ValueError(f"{path} does not match its checksum")
    return stored["content"]


def write_json(path: Path, content: Any) -> None:
    """Atomically replaces `path` with `content` and its checksum."""
    write_text(path, json.dumps({"sha256": digest(content), "content": content}, indent=1))


def write_text(path: Path, text: str) -> None:
    """Atomically replaces `path` with a text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest(content: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing if there is no folder. Hidden entries are left out.

    Raises OSError if the folder cannot be read, which `Path.glob` passes over.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


TEMPORARY = re.compile(r"\..+\.[0-9]+")  # the names that `replacing` gives


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to. When the block succeeds, the file is synced to disk and replaces `path`."""
    temporary = path.with_name(short_name(f".{path.stem}", f"{path.suffix}.{os.getpid()}"))
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError for what has no end, such as a link to a device."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(paths: Sequence[Path]) -> Iterator[str]:
    """The checksums of files, in order; several threads read files at the same time."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(checksum, paths)


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as {"bytes", "sha256"}."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def fingerprints(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The fingerprints of files, in order; several threads read files at the same time."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(fingerprint, paths)
