"""Sets of images to score: folders of image files, and npz files in the format of the ADM evaluator.

Images are read and written in batches: a set may be larger than the memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, final

from harness.data import image_files
from harness.data.adm_files import (
    IMAGES,
    LABELS,
    NEEDED,
    FeatureStatistics,
    Size,
    checked_statistics,
    image_shape,
    instead_of_npz,
    open_array,
    read_statistic,
)
from harness.data.decoding import read, reason
from harness.data.image_files import CHUNK_FILES, PassedOver, first_of, natural, shown
from harness.system.errors import Mistake
from harness.system.files import checksum
from harness.system.texts import counted

if TYPE_CHECKING:
    import numpy as np

FORMS = f"a folder of image files, or an npz file (np.savez) with {IMAGES}, uint8 (N, H, W, 3),"
LOSSY = {"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "GIF"}
CHUNK_BYTES = 2**20

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class ImageSet(ABC):
    """`count` images of `size` (H, W) in a fixed order.

    `names` pair the images of two sets: paths in the folder without suffix; an npz file has no names. `formats` are
    Pillow's names of the formats of image files. `passed_over`: what of a folder or file is not used. A reference that
    has only statistics has a count of 0 and a size of (0, 0).
    """

    path: Path
    count: int
    size: Size
    names: tuple[str, ...] | None
    statistics: FeatureStatistics | None
    passed_over: PassedOver
    formats: tuple[str, ...]

    def __len__(self) -> int:
        return self.count

    @property
    def kind(self) -> str:
        """The number of images, and the formats of the files if some of these are lossy, which changes the pixels."""
        return " ".join([str(self.count), *(self.formats if self.lossy else ()), f"image{'s' * (self.count != 1)}"])

    @property
    def lossy(self) -> set[str]:
        """The formats of the files that are lossy, or can be."""
        return LOSSY & set(self.formats)

    @property
    def about(self) -> str:
        """Count, name and size as one short text."""
        parts = [self.kind] if self.count else []
        parts += ["statistics"] if self.statistics else []
        return f"{' and '.join(parts)} of {shown(self.path.resolve().name)}" + (
            f", {_px(self.size)}" if self.count else ""
        )

    @abstractmethod
    def batches(self, count: int) -> Iterator[np.ndarray]:
        """All images, uint8 (n, H, W, 3); n = `count`, the last batch may be smaller. Raises `Mistake` for damage."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content and its order, in hexadecimal; names and labels are not included."""


@final
@dataclass(frozen=True, eq=False)
class Folder(ImageSet):
    """Image files: whole images, or their centre squares as in the ADM protocol if `cropped`.

    `transparent`: some images can have transparent pixels, which show white.
    """

    files: tuple[Path, ...]
    cropped: bool
    transparent: bool

    @property
    def about(self) -> str:
        return super().about + ", centre crop" * self.cropped + ", on white" * self.transparent

    def batches(self, count: int) -> Iterator[np.ndarray]:
        import numpy as np

        images = _mapped(self._pixels, self.files)
        while batch := list(itertools.islice(images, count)):
            yield np.stack(batch)

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256(f"{self.size} {self.cropped}{' on white' * self.transparent}\n".encode())
        for file_checksum in _mapped(checksum, self.files):
            digest.update(file_checksum.encode())
        return digest.hexdigest()

    def without_partner(self, other: Folder) -> list[Path]:
        """The files whose names, endings aside, `other` does not have, or has fewer times."""
        left, lonely = Counter(other.names), []
        for name, file in zip(self.names or (), self.files, strict=True):
            left[name] -= 1
            lonely += [file] * (left[name] < 0)
        return lonely

    def _pixels(self, file: Path) -> np.ndarray:
        pixels = read(file, self.size[0] if self.cropped else None)
        if isinstance(pixels, str):
            raise _unreadable(file, pixels)
        if pixels.shape[:2] != self.size:  # an orientation tag at the end of the file turned the image
            raise _differs(file, pixels.shape[:2], self.size)
        return pixels


@final
@dataclass(frozen=True, eq=False)
class Npz(ImageSet):
    """An npz file; `arrays` are the names of the arrays that are used."""

    arrays: tuple[str, ...]

    def batches(self, count: int) -> Iterator[np.ndarray]:
        import numpy as np

        if not self.count:
            return
        with open_array(self.path, IMAGES) as array:
            for start in range(0, self.count, count):
                batch = np.empty((min(count, self.count - start), *self.size, 3), np.uint8)
                if array.file.readinto(batch.reshape(-1).data) != batch.nbytes:
                    raise EOFError
                yield batch

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for name in self.arrays:
            with open_array(self.path, name) as array:
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                while chunk := array.file.read(CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()


def open_images(path: Path, side: int | None = None, crop: Literal["none", "center"] = "none") -> ImageSet:
    """The images of a folder (at any depth, in the natural order of their paths) or of an npz file.

    With `side` the images must have side x side pixels; a centre crop (folders only) makes them so. Raises `Mistake`
    for wrong names, headers or statistics now; damaged pixels raise it when they are read.
    """
    if not (path.is_dir() or path.is_file()):
        raise Mistake(f"{path} is not there: a folder of image files or an npz file is needed")
    if crop == "center" and side is None:
        raise Mistake(f"a centre crop of {path} needs a side in pixels")
    if path.is_dir():
        return _open_folder(path, side, crop == "center")
    if crop == "center":
        raise Mistake(f"{path} is a file; only folders of image files are cropped: crop the images before you write it")
    return _open_npz(path, side)


def require_pairs(images: ImageSet, originals: ImageSet, what: str) -> None:
    """Raises `Mistake` if two sets are not pairs, by name or at least by number; `what` compares them."""
    if isinstance(images, Folder) and isinstance(originals, Folder) and images.names != originals.names:
        lonely = [
            (file, b.path) for a, b in ((images, originals), (originals, images)) for file in a.without_partner(b)
        ]
        (file, lacking), more = min(lonely, key=lambda pair: natural(pair[0].name)), len(lonely) - 1
        partner = f"no partner in {shown(lacking)}" + (f", nor have {counted(more, 'other')}" if more else "")
        raise Mistake(f"{what} compares files with the same names: {shown(file)} has {partner}")
    if len(images) != len(originals):
        raise Mistake(
            f"{what} compares pairs: {counted(len(images), 'image')} and {counted(len(originals), 'original')}"
        )


def _open_folder(path: Path, side: int | None, cropped: bool) -> Folder:
    found = image_files.require(path)
    # By names before suffixes: copies in another format come in the same order. 2 comes before 10, as in an npz.
    paths = sorted((os.path.splitext(name) for name in found.images), key=lambda parts: (natural(parts[0]), parts[1]))
    files = tuple(path / f"{name}{suffix}" for name, suffix in paths)
    opened = dict(zip(files, _mapped(_header, files), strict=True))
    if unreadable := {file.relative_to(path).as_posix(): why for file, why in opened.items() if isinstance(why, str)}:
        raise Mistake(image_files.refusal(unreadable, len(files), path))
    headers = [header for header in opened.values() if not isinstance(header, str)]
    size = (side, side) if side else headers[0].size
    for file, header in zip(files, headers, strict=True):
        if not cropped and header.size != size:
            raise _differs(file, header.size, size)
    formats = tuple(sorted({header.format for header in headers}))
    transparent = any(header.transparent for header in headers)
    names = tuple(name for name, _ in paths)
    return Folder(path, len(files), size, names, None, found.passed_over, formats, files, cropped, transparent)


class _Header(NamedTuple):
    size: Size
    format: str
    transparent: bool


def _header(file: Path) -> _Header | str:
    """Upright size (H, W), format, and whether pixels may be transparent, for a hundredth of the work of decoding.

    Of a file that does not open, the reason.
    """
    from PIL import Image
    from PIL.ExifTags import Base

    try:
        with Image.open(file) as image:
            # `getexif` reads a PNG to its end if the header has no EXIF data.
            turned = "exif" in image.info and image.getexif().get(Base.Orientation, 1) >= 5
            size = (image.width, image.height) if turned else (image.height, image.width)
            return _Header(size, str(image.format), image.has_transparency_data)
    except Exception as error:  # decoders raise almost anything for damaged files
        return reason(error)


def _mapped(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Applies `function` to the items in order, in threads that are at most a chunk ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), CHUNK_FILES):
            yield from pool.map(function, items[start : start + CHUNK_FILES])


def _unreadable(file: Path, why: str) -> Mistake:
    return Mistake(image_files.refusal({str(file): why}))


def _differs(file: Path, size: Size, needed: Size) -> Mistake:
    return Mistake(f"{shown(file)} is {_px(size)}, not {_px(needed)}: bring all images to that size")


def _px(size: Size) -> str:
    height, width = size
    return f"{width} px" if height == width else f"{width} x {height} px"


def _open_npz(path: Path, side: int | None) -> Npz:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        raise Mistake(f"{shown(path)} is {instead_of_npz(path)}: {FORMS} is needed") from None
    names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
    arrays = tuple(name for name in (IMAGES, *FeatureStatistics._fields) if name in names)
    if not arrays:
        raise Mistake(f"{path} has {first_of(names) or 'no array'}: {NEEDED} is needed")
    passed_over = PassedOver()
    for member in members:
        if member.removesuffix(".npy") not in (*arrays, LABELS):
            passed_over.add("of its arrays that are not used", member.removesuffix(".npy"))
    count, height, width = image_shape(path, side) if IMAGES in arrays else (0, 0, 0)
    statistics = {name: read_statistic(path, name) for name in arrays if name != IMAGES}
    checked = checked_statistics(path, statistics) if statistics else None
    return Npz(path, count, (height, width), None, checked, passed_over, (), arrays)
