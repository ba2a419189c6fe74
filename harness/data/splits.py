"""The splits of a built data set, as memory-mapped arrays."""

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
    """One split, memory-mapped. `masks` is None if the data set has no object masks.

    Indexed images (`harness.data.indexed.IndexedImages`) are read like an array, by the first axis; reading decodes.
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
        from harness.data.indexed import IndexedImages

        images = IndexedImages(folder, split)
    else:
        images = array("images")
    has_masks = (folder / f"{split}_masks.npy").exists()
    return Split(images, array("labels"), array("masks") if has_masks else None)


def splits(folder: Path) -> list[str]:
    """The names of the splits built in `folder`, `train` first."""
    return [split for split in SPLITS if any((folder / f"{split}_{kind}.npy").exists() for kind in ("images", "index"))]


def validation_splits(folder: Path) -> list[str]:
    """The names of the splits built in `folder` that nothing is trained on."""
    return [split for split in splits(folder) if split != "train"]
