"""Data sets, one file each, found by name: `--data NAME` or `--data NAME:ARGUMENT`.

A data set module offers

    revision: int                      raised whenever the arrays that it builds would change
    about: str                         one line
    attribution: str                   licence and source, shown wherever its images are shown ("" where unknown)
    recipe(data) -> dict               what decides its content (hashed); raises `Mistake` for what makes no sense, and
                                       works where the data is absent, so that plans can be made elsewhere
    require(data) -> None              raises `Mistake` where the data is not on this machine
    build(data, folder, quiet, check_stop) -> dict
                                       writes the arrays below into `folder`; returns {"classes": [...], ...} to record;
                                       calls `check_stop` between images, which raises when it should stop

and its splits are arrays in the run folder of the stage `data`:

    {split}_images.npy   uint8 (n, image_size, image_size, 3)
    {split}_labels.npy   int64 (n,), the index into classes
    {split}_masks.npy    bool (n, image_size, image_size), True on the object, where the data set knows it

for the splits `train`, `val` and, where there is one, `val_unseen`. A data set with `indexed = True` leaves its images
where they are and writes an index of them in place of {split}_images.npy, as `harness.indexed` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "val_unseen")
KINDS = ("images", "labels", "masks", "index", "names", "digests")


@dataclass(frozen=True)
class Split:
    """One split, memory-mapped. `masks` is None where the data set has no object masks.

    Indexed images (`harness.indexed.IndexedImages`) are read as an array is, by the first axis, and decoded on the way.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)


def open_split(folder: Path, split: str) -> Split:
    """The split `split` of the data set built in `folder`."""
    import numpy as np

    def array(kind: str) -> np.ndarray:
        return np.load(folder / f"{split}_{kind}.npy", mmap_mode="r")

    images: Any
    if (folder / f"{split}_index.npy").exists():
        from harness.indexed import IndexedImages

        images = IndexedImages(folder, split)
    else:
        images = array("images")
    has_masks = (folder / f"{split}_masks.npy").exists()
    return Split(images, array("labels"), array("masks") if has_masks else None)


def splits(folder: Path) -> list[str]:
    """The names of the splits built in `folder`, `train` first."""
    return [split for split in SPLITS if any((folder / f"{split}_{kind}.npy").exists() for kind in ("images", "index"))]
