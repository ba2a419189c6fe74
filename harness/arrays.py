"""Arrays on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

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
