"""Images that stay in their files or tar shards: indexed once, decoded while they are read.

In the run folder of the stage `data` an index replaces the arrays of pixels:

    source.json          the root folder of the images (absolute), their side and crop, the shards of every split
    {split}_index.npy    int64 (n, 3): the shard (-1: a separate file), the first byte, the number of bytes
    {split}_names.npy    bytes (n,): the path below the root folder; inside a shard: the shard, a slash and the name
    {split}_digests.npy  uint8 (n, 16): the first half of the SHA-256 of the image's bytes
    {split}_labels.npy   int64 (n,)
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from harness.data.class_folders import CHUNK_IMAGES
from harness.data.decoding import read, reason
from harness.experiments.experiment import Data
from harness.system.errors import Mistake, Trouble
from harness.system.files import read_json, write_json
from harness.system.machine import cores

SOURCE = "source.json"
OWN_FILE = -1
DIGEST_BYTES = 16
WAITS_SECONDS = (0.1, 1.0)  # before unreadable bytes are read again
REPLACEMENTS = 10  # images of the same class that are tried instead of an unreadable one


@dataclass(frozen=True)
class EncodedImage:
    """An encoded image: its name, its label, and its `length` bytes from `first` on in a shard or a separate file."""

    name: str
    label: int
    length: int
    shard: str = ""
    first: int = 0

    @property
    def file(self) -> str:
        """The file that holds the image, relative to the root folder."""
        return self.shard or self.name


def build(
    data: Data,
    folder: Path,
    root: Path,
    splits: dict[str, list[EncodedImage]],
    quiet: bool,
    check_stop: Callable[[], None],
) -> dict[str, str]:
    """Reads every image of `splits` below `root` once and writes an index of the readable images into `folder`.

    Returns the names of the unreadable images, with the reasons. Raises `Mistake` if a split has no readable image.
    """
    unreadable: dict[str, str] = {}
    total = sum(map(len, splits.values()))
    shards = {split: sorted({image.shard for image in images if image.shard}) for split, images in splits.items()}
    source = {"root": str(root.absolute()), "side": data.image_size, "crop": data.crop, "background": data.background}
    source |= {"shards": shards}
    write_json(folder / SOURCE, source)
    with tqdm(total=total, desc=data.name, unit="image", leave=False, disable=quiet or None) as progress:
        for split, images in splits.items():
            digests = _digests(data, root, images, progress, check_stop)
            pairs = list(zip(images, digests, strict=True))
            readable = [(image, digest) for image, digest in pairs if isinstance(digest, bytes)]
            unreadable |= {image.name: reason for image, reason in pairs if isinstance(reason, str)}
            if not readable:
                raise Mistake(f"not one image of {split} in {root} opens")
            _write(folder, split, shards[split], *zip(*readable, strict=True))
    return unreadable


def opened(data: Data, root: Path, image: EncodedImage) -> bytes | str:
    """The bytes of an image that decodes as `data` says, or why it does not."""
    try:
        content = _content(root / image.file, image.first, image.length)
    except OSError as error:
        return reason(error)
    pixels = read(io.BytesIO(content), data.image_size, data.crop, data.background)
    return pixels if isinstance(pixels, str) else content


def _digests(
    data: Data,
    root: Path,
    images: list[EncodedImage],
    progress: tqdm[Any],
    check_stop: Callable[[], None],
) -> list[bytes | str]:
    """The digest of every image, or why it does not decode. Shards are read in the order of their bytes."""

    def digest(position: int) -> bytes | str:
        content = opened(data, root, images[position])
        return content if isinstance(content, str) else _digest(content)

    digests: list[bytes | str] = [""] * len(images)
    order = sorted(range(len(images)), key=lambda position: (images[position].shard, images[position].first))
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(order), CHUNK_IMAGES):
            check_stop()
            chunk = order[start : start + CHUNK_IMAGES]
            for position, image_digest in zip(chunk, pool.map(digest, chunk), strict=True):
                digests[position] = image_digest
                progress.update()
    return digests


def _write(
    folder: Path, split: str, shards: list[str], images: Sequence[EncodedImage], digests: Sequence[bytes]
) -> None:
    number = {shard: k for k, shard in enumerate(shards)}
    arrays = {
        "index": np.array([(number.get(i.shard, OWN_FILE), i.first, i.length) for i in images], dtype=np.int64),
        "names": np.array([os.fsencode(image.name) for image in images]),
        "digests": np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES),
        "labels": np.array([image.label for image in images], dtype=np.int64),
    }
    for kind, array in arrays.items():
        np.save(folder / f"{split}_{kind}.npy", array)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def _content(path: Path, first: int, length: int, digest: bytes | None = None) -> bytes:
    """Bytes of a file. Raises OSError if they are unreadable or changed; before that it tries again after waits."""
    for wait in (0.0, *WAITS_SECONDS):
        time.sleep(wait)
        try:
            with path.open("rb") as file:
                file.seek(first)
                content = file.read(length)
        except OSError as error:
            trouble = error
            continue
        if len(content) == length and digest in (None, _digest(content)):
            return content
        trouble = OSError(f"{path} has changed since it was indexed")
    raise trouble


_place: ContextVar[Path | None] = ContextVar("place", default=None)


@contextlib.contextmanager
def lying_in(root: Path) -> Iterator[None]:
    """Within this context images are read below `root`, if it exists, and not where they were indexed.

    A data set is its content: it may have been moved, and every node may have a copy on a disk of its own.
    """
    before = _place.set(root.absolute())
    try:
        yield
    finally:
        _place.reset(before)


class IndexedImages:
    """The images of a split as an array uint8 (n, S, S, 3) that decodes the chosen images, in threads.

    An index is for the first axis only: an integer, a slice or an array. An image that can no longer be read is
    reported once on standard error and named in `damaged`; from then on the next image of its class replaces it. Raises
    `Trouble` if the root folder is missing, if none of several images can be read, or if no image of the class can
    replace one.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, split: str, threads: int | None = None):
        source = read_json(folder / SOURCE)
        place = _place.get()
        self.root = place if place is not None and place.is_dir() else Path(source["root"])
        self.side, self.crop = source["side"], source["crop"]
        self.background = source["background"]
        self.folder, self.shards, self.threads = folder, source["shards"][split], threads or cores()
        kinds = ("index", "names", "digests", "labels")
        self.index, self.names, self.digests, self.labels = (
            np.load(folder / f"{split}_{kind}.npy", mmap_mode="r") for kind in kinds
        )
        self.shape = (len(self.index), self.side, self.side, 3)
        self._stand_ins: dict[int, int] = {}

    @property
    def damaged(self) -> list[str]:
        """The names of the images that this object could no longer read."""
        return [self.name(position) for position in self._stand_ins]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """The chosen images, decoded. Raises IndexError as an array does."""
        positions = self._positions[key]
        pixels = self.begin(np.ravel(positions)).result()
        return pixels.reshape(np.shape(positions) + self.shape[1:])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def begin(self, positions: np.ndarray) -> Pending:
        """Begins to decode the images at `positions` (B,) and does not wait for them."""
        return Pending(self, positions)

    def read(self, position: int) -> np.ndarray | None:
        """The image at `position`, or its replacement, uint8 (S, S, 3); None if it cannot be read."""
        return self._decoded(self._stand_ins.get(position, position))

    def _decoded(self, position: int) -> np.ndarray | None:
        shard, first, length = self.index[position].tolist()
        try:
            path = self.root / (self.name(position) if shard == OWN_FILE else self.shards[shard])
            content = _content(path, first, length, self.digests[position].tobytes())
        except OSError:
            return None
        pixels = read(io.BytesIO(content), self.side, self.crop, self.background)
        return None if isinstance(pixels, str) else pixels

    def stand_in(self, position: int) -> np.ndarray:
        """The next readable image of the class; from now on it replaces the unreadable one at `position`."""
        same_class = np.flatnonzero(self.labels == self.labels[position])
        following = np.roll(same_class, -np.searchsorted(same_class, position) - 1)[:-1]
        for other in following[:REPLACEMENTS].tolist():
            pixels = None if other in self._stand_ins else self._decoded(other)
            if pixels is not None:
                if self._stand_ins.get(position) != other:
                    message = f"can no longer be read: {self.name(other)} replaces it"
                    print(f"warning: {self.name(position)} in {self.root} {message}", file=sys.stderr, flush=True)
                self._stand_ins[position] = other
                return pixels
        raise self.missing(f"{self.name(position)} and the images of its class that follow")

    def name(self, position: int) -> str:
        """The name of an image, relative to the root folder."""
        return os.fsdecode(self.names[position])

    def missing(self, images: str) -> Trouble:
        """The error for images that can no longer be read."""
        return Trouble(
            f"{images} cannot be read in {self.root}: put them back, or name the folder where they lie now with "
            "--data, and the same runs go on"
        )

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The decoding threads, which end with this object. Raises `Trouble` if the root folder is missing."""
        if not self.root.is_dir():
            raise self.missing("the images")
        return ThreadPoolExecutor(self.threads, thread_name_prefix="decoding")

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.arange(len(self))


class Pending:
    """Images that are being decoded."""

    def __init__(self, images: IndexedImages, positions: np.ndarray):
        self.images, self.positions = images, positions.tolist()
        self.pixels = np.empty((len(positions), *images.shape[1:]), np.uint8)
        self.futures = [images.pool.submit(self._read, k) for k in range(len(positions))]

    def _read(self, k: int) -> bool:
        pixels = self.images.read(self.positions[k])
        if pixels is not None:
            self.pixels[k] = pixels
        return pixels is not None

    def result(self) -> np.ndarray:
        """Waits for the images, uint8 (B, S, S, 3). Raises `Trouble` as `IndexedImages` does."""
        failed = [k for k, future in enumerate(self.futures) if not future.result()]
        if len(failed) == len(self.positions) > 1:
            raise self.images.missing(f"{self.images.name(self.positions[0])} and {len(failed) - 1} more images")
        for k in failed:
            self.pixels[k] = self.images.stand_in(self.positions[k])
        return self.pixels

    def cancel(self) -> None:
        """Drops the images whose decoding has not begun."""
        for future in self.futures:
            future.cancel()
