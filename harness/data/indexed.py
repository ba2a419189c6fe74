"""Images that stay where they are, in files of their own or inside tar shards: indexed once, decoded as they are read.

In the run folder of the stage `data` an index takes the place of the arrays of pixels:

    source.json          where the images are (absolute), their side and crop, the names of the shards of every split
    {split}_index.npy    int64 (n, 3): the shard, -1 for a file of its own, the first byte in it, and how many
    {split}_names.npy    bytes (n,): relative to where the images are; of those in a shard, behind the shard's name
    {split}_digests.npy  uint8 (n, 16): the first half of the SHA-256 of the image's bytes
    {split}_labels.npy   int64 (n,)
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from harness.data.class_folders import CHUNK_IMAGES, settle
from harness.data.decoding import decode
from harness.experiments.experiment import Data
from harness.system.errors import Trouble
from harness.system.files import read_json, write_json
from harness.system.machine import cores

SOURCE = "source.json"
OWN_FILE = -1
DIGEST_BYTES = 16
WAITS_SECONDS = (0.1, 1.0)  # before bytes that could not be read are tried again
REPLACEMENTS = 10  # images of its class that are tried in place of one that cannot be read


@dataclass(frozen=True)
class EncodedImage:
    """An encoded image: its name, its label, and its `length` bytes from `first` on in a shard or a file of its own."""

    name: str
    label: int
    length: int
    shard: str = ""
    first: int = 0

    @property
    def file(self) -> str:
        """The file that holds it, relative to where the images are."""
        return self.shard or self.name


def build(
    data: Data,
    folder: Path,
    root: Path,
    splits: dict[str, list[EncodedImage]],
    quiet: bool,
    check_stop: Callable[[], None],
) -> list[str]:
    """Reads every image of `splits` below `root` once and writes the index of those that decode into `folder`.

    Returns the names of the others. Raises `Trouble` after all have been tried, where `data` refuses them or a split
    is left with nothing.
    """
    unreadable: list[str] = []
    total = sum(map(len, splits.values()))
    shards = {split: sorted({image.shard for image in found if image.shard}) for split, found in splits.items()}
    source = {"root": str(root.absolute()), "side": data.image_size, "crop": data.crop, "shards": shards}
    write_json(folder / SOURCE, source)
    with tqdm(total=total, desc=data.name, unit="image", disable=quiet or None) as progress:
        for split, found in splits.items():
            digests = _digests(data, root, found, progress, check_stop)
            whole = [(image, digest) for image, digest in zip(found, digests, strict=True) if digest]
            unreadable += [image.name for image, digest in zip(found, digests, strict=True) if not digest]
            if not whole:
                raise Trouble(f"not one image of {split} in {root} opens")
            _write(folder, split, shards[split], *zip(*whole, strict=True))
    settle(data, str(root), unreadable, total)
    return unreadable


def _digests(
    data: Data,
    root: Path,
    found: list[EncodedImage],
    progress: tqdm[Any],
    check_stop: Callable[[], None],
) -> list[bytes]:
    """The digest of every image, empty where it does not decode. Shards are read from the first byte to the last."""

    def digest(place: int) -> bytes:
        image = found[place]
        try:
            content = _content(root / image.file, image.first, image.length)
            decode(io.BytesIO(content), data.image_size, data.crop)
        except MemoryError:  # no fault of the image's
            raise
        except Exception:  # damaged files make decoders raise nearly anything
            return b""
        return _digest(content)

    digests = [b""] * len(found)
    order = sorted(range(len(found)), key=lambda place: (found[place].shard, found[place].first))
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(order), CHUNK_IMAGES):
            check_stop()
            chunk = order[start : start + CHUNK_IMAGES]
            for place, its_digest in zip(chunk, pool.map(digest, chunk), strict=True):
                digests[place] = its_digest
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
    """Bytes of a file; raises OSError where they cannot be read, or not as they were, tried again after waits."""
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
        trouble = OSError(f"{path} is not what it was when it was indexed")
    raise trouble


class IndexedImages:
    """The images of a split as an array uint8 (n, S, S, 3) that decodes what is asked of it, in threads.

    Indices of the first axis alone: an integer, a slice, an array. An image that cannot be read any more is told on
    standard error and named in `damaged`, once; the next image of its class stands in for it from then on. Raises
    `Trouble` where the images are gone, where none of several can be read, and where no other of its class can.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, split: str, threads: int | None = None):
        source = read_json(folder / SOURCE)
        self.root, self.side, self.crop = Path(source["root"]), source["side"], source["crop"]
        self.folder, self.shards, self.threads = folder, source["shards"][split], threads or cores()
        kinds = ("index", "names", "digests", "labels")
        self.index, self.names, self.digests, self.labels = (
            np.load(folder / f"{split}_{kind}.npy", mmap_mode="r") for kind in kinds
        )
        self.shape = (len(self.index), self.side, self.side, 3)
        self._stand_ins: dict[int, int] = {}

    @property
    def damaged(self) -> list[str]:
        """The names of the images that could not be read any more, since this object was made."""
        return [self.name(place) for place in self._stand_ins]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """The chosen images, decoded; raises IndexError as an array does."""
        places = self._places[key]
        pixels = self.begin(np.ravel(places)).result()
        return pixels.reshape(np.shape(places) + self.shape[1:])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def begin(self, places: np.ndarray) -> Pending:
        """Begins to decode the images at `places` (B,), and does not wait for them."""
        return Pending(self, places)

    def read(self, place: int) -> np.ndarray | None:
        """The image at `place`, or what stands in for it, uint8 (S, S, 3); None where that cannot be read."""
        return self._decoded(self._stand_ins.get(place, place))

    def _decoded(self, place: int) -> np.ndarray | None:
        shard, first, length = self.index[place].tolist()
        try:
            path = self.root / (self.name(place) if shard == OWN_FILE else self.shards[shard])
            content = _content(path, first, length, self.digests[place].tobytes())
            return decode(io.BytesIO(content), self.side, self.crop)
        except MemoryError:  # no fault of the image's
            raise
        except Exception:  # damaged files make decoders raise nearly anything
            return None

    def stand_in(self, place: int) -> np.ndarray:
        """The next image of the class that can be read, from now on in place of one that cannot."""
        same = np.flatnonzero(self.labels == self.labels[place])
        following = np.roll(same, -np.searchsorted(same, place) - 1)[:-1]
        for other in following[:REPLACEMENTS].tolist():
            pixels = None if other in self._stand_ins else self._decoded(other)
            if pixels is not None:
                if self._stand_ins.get(place) != other:
                    told = f"cannot be read any more: {self.name(other)} stands in for it"
                    print(f"warning: {self.name(place)} in {self.root} {told}", file=sys.stderr, flush=True)
                self._stand_ins[place] = other
                return pixels
        raise self.gone(f"{self.name(place)} and the images of its class that follow")

    def name(self, place: int) -> str:
        """The name of an image, relative to where the images are."""
        return os.fsdecode(self.names[place])

    def gone(self, what: str) -> Trouble:
        """What to say where images are not there any more."""
        return Trouble(
            f"{what} cannot be read in {self.root}, where they were indexed: put them back there, or remove "
            f"{self.folder} and name where they are now, and they are indexed anew; results made of them stay"
        )

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that decode; they end with this object."""
        if not self.root.is_dir():
            raise self.gone("the images")
        return ThreadPoolExecutor(self.threads, thread_name_prefix="decoding")

    @cached_property
    def _places(self) -> np.ndarray:
        return np.arange(len(self))


class Pending:
    """Images that are being decoded."""

    def __init__(self, images: IndexedImages, places: np.ndarray):
        self.images, self.places = images, places.tolist()
        self.pixels = np.empty((len(places), *images.shape[1:]), np.uint8)
        self.futures = [images.pool.submit(self._read, k) for k in range(len(places))]

    def _read(self, k: int) -> bool:
        pixels = self.images.read(self.places[k])
        if pixels is not None:
            self.pixels[k] = pixels
        return pixels is not None

    def result(self) -> np.ndarray:
        """The images, uint8 (B, S, S, 3), when they are all there; raises `Trouble`."""
        failed = [k for k, future in enumerate(self.futures) if not future.result()]
        if len(failed) == len(self.places) > 1:
            raise self.images.gone(f"{self.images.name(self.places[0])} and {len(failed) - 1} more images")
        for k in failed:
            self.pixels[k] = self.images.stand_in(self.places[k])
        return self.pixels

    def cancel(self) -> None:
        """Leaves what has not begun."""
        for future in self.futures:
            future.cancel()
