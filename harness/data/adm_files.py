"""Files of the ADM evaluator: npz files whose arrays are read and written in pieces, and checked.

    samples     arr_0 (N, H, W, 3) uint8; labels in arr_1 are ignored
    reference   mu (D,), sigma (D, D) of pooled features, mu_s (E,), sigma_s (E, E) of spatial features, floating point;
                arr_0 for precision and recall

Either images or statistics of a reference may be missing.
"""

from __future__ import annotations

import contextlib
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from harness.data import image_files
from harness.data.image_files import CHUNK_FILES
from harness.system.errors import Mistake
from harness.system.files import replacing

if TYPE_CHECKING:
    import numpy as np

IMAGES, LABELS = "arr_0", "arr_1"
NEEDED = f"{IMAGES}, uint8 (N, H, W, 3), or mu (D,) and sigma (D, D) of a reference, floating point,"
SMALL_BYTES, MOST_COMPRESSED = 2**28, 10  # an array in memory may be so large, or so much larger than its file
ASYMMETRY = 1e-4  # tolerated in a covariance, relative to its largest entry: far above rounding in float32

Size = tuple[int, int]


class FeatureStatistics(NamedTuple):
    """Means and covariances of Inception features, float64: pooled (D,), (D, D); optionally spatial (E,), (E, E)."""

    mu: np.ndarray
    sigma: np.ndarray
    mu_s: np.ndarray | None = None
    sigma_s: np.ndarray | None = None


class OpenArray(NamedTuple):
    """An array in an npz file; `file` stands at the first byte of its values."""

    file: zipfile.ZipExtFile
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


@contextlib.contextmanager
def open_array(path: Path, name: str) -> Iterator[OpenArray]:
    """Opens an array. Raises `Mistake` if it is damaged (now or while the caller reads) or holds Python objects."""
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            file = cast(zipfile.ZipExtFile, member)
            first = np.lib.format.read_magic(file) == (1, 0)
            header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            array = OpenArray(file, *header(file))
            if array.dtype.hasobject:
                raise Mistake(f"{name} of {path} holds Python objects, which are never loaded: {NEEDED} is needed")
            size = archive.getinfo(f"{name}.npy").file_size - file.tell()
            if size != math.prod(array.shape) * array.dtype.itemsize:
                raise EOFError
            yield array
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, MemoryError) as error:
        raise Mistake(f"{name} of {path} is damaged or cut off: write or copy the file again") from error


def instead_of_npz(path: Path) -> str:
    """What a file is that is no npz file, in words."""
    if image_files.is_image(path.name):
        return "one image file"
    if path.suffix == ".npy":
        return "an npy file"
    return "cut off or not an npz file" if path.suffix == ".npz" else "not an npz file"


def image_shape(path: Path, side: int | None) -> tuple[int, ...]:
    """(N, H, W) of the images in a file. Raises `Mistake` for other arrays, and for images of another side."""
    import numpy as np

    with open_array(path, IMAGES) as array:
        shape, description = array.shape, f"{IMAGES} of {path} is {array.dtype} {array.shape}"
    if array.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise Mistake(f"{description}: uint8 (N, H, W, 3) is needed")
    if 0 in shape:
        raise Mistake(f"{description}: it has no images")
    if array.fortran:
        raise Mistake(f"{description} in Fortran order: pass it through np.ascontiguousarray and write it again")
    if side and shape[1:3] != (side, side):
        raise Mistake(f"{description}, but {side} px are needed: write the images at that size")
    _require_memory(path, IMAGES, min(shape[0], CHUNK_FILES) * math.prod(shape[1:]))
    return shape[:3]


def _require_memory(path: Path, name: str, needed: int) -> None:
    """Raises `Mistake` if an array takes much more memory than its file has bytes, as compressed zeros would."""
    size = path.stat().st_size
    if needed > max(SMALL_BYTES, MOST_COMPRESSED * size):
        raise Mistake(f"{name} of {path} takes {needed:,} bytes of memory, and the file has {size:,}: write it again")


def read_statistic(path: Path, name: str) -> np.ndarray:
    """An array of statistics, float64. Raises `Mistake`."""
    import numpy as np

    with open_array(path, name) as array:
        if array.dtype.kind != "f":
            raise Mistake(f"{name} of {path} is {array.dtype} {array.shape}: floating point is needed")
        _require_memory(path, name, math.prod(array.shape) * array.dtype.itemsize)
        values = np.frombuffer(array.file.read(), array.dtype)
        return values.reshape(array.shape, order="F" if array.fortran else "C").astype(np.float64)


def checked_statistics(path: Path, arrays: dict[str, np.ndarray]) -> FeatureStatistics:
    """The statistics. Raises `Mistake` if the arrays are not means and covariances."""
    import numpy as np

    for mean, covariance in (("mu", "sigma"), ("mu_s", "sigma_s")):
        missing = {mean, covariance} - arrays.keys()
        if missing == {"mu_s", "sigma_s"}:
            continue
        if missing:
            raise Mistake(f"{path} has {', '.join(arrays)} but not {min(missing)}: {mean} goes with {covariance}")
        mu, sigma = arrays[mean], arrays[covariance]
        if mu.ndim != 1 or not mu.size or sigma.shape != 2 * mu.shape:
            shapes = f"{mean} of {path} is {mu.shape} and {covariance} {sigma.shape}"
            raise Mistake(f"{shapes}: (D,) and (D, D) are needed")
        for name in (mean, covariance):
            if not np.isfinite(arrays[name]).all():
                raise Mistake(f"{name} of {path} has values that are NaN or infinite: compute the statistics again")
        if np.abs(sigma - sigma.T).max() > ASYMMETRY * np.abs(sigma).max():
            raise Mistake(f"{covariance} of {path} is not symmetric, so not a covariance: compute the statistics again")
    return FeatureStatistics(**arrays)


def write_samples(path: Path, batches: Iterable[np.ndarray], count: int, size: Size) -> None:
    """Writes `count` images of `size` (H, W) from batches uint8 (n, H, W, 3), atomically.

    Raises ValueError for any other batches; `path` then keeps its old content.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write_images(archive, batches, count, size)


def write_reference(
    path: Path, statistics: FeatureStatistics, batches: Iterable[np.ndarray] = (), count: int = 0, size: Size = (0, 0)
) -> None:
    """Writes statistics, atomically, and images as `write_samples` does if `count` is not 0.

    Raises `Mistake` if the statistics are not means and covariances.
    """
    import numpy as np

    arrays = {name: np.asarray(array, np.float64) for name, array in statistics._asdict().items() if array is not None}
    checked_statistics(path, arrays)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        if count:
            _write_images(archive, batches, count, size)


def _write_images(archive: zipfile.ZipFile, batches: Iterable[np.ndarray], count: int, size: Size) -> None:
    import numpy as np

    shape, written = (int(count), int(size[0]), int(size[1]), 3), 0  # plain integers: the header is their repr
    with archive.open(f"{IMAGES}.npy", "w", force_zip64=True) as file:  # zip must know beforehand of over 4 GiB
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for batch in batches:
            written += len(batch)
            if batch.dtype != np.uint8 or batch.shape[1:] != shape[1:] or written > count:
                raise ValueError(f"{batch.dtype} {batch.shape} makes {written} images; needed are uint8 {shape}")
            file.write(np.ascontiguousarray(batch).data)
    if written != count or 0 in shape:
        raise ValueError(f"{written} images; needed are {shape}")
