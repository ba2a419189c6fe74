"""ImageNet, decoded in place while it is read: `--data imagenet` or `--data imagenet:PATH`.

PATH (default: `data/imagenet`) has the folders `train` and `val`, and these have one folder per class:
train/n01440764/*.JPEG. Every image is read once to build the index. Keys depend on the files as in the set `folder`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.data import class_folders
from harness.data.class_folders import Chosen, Listing
from harness.data.image_files import PassedOver
from harness.experiments.experiment import Data
from harness.system.errors import Mistake

revision = 2
about = "ImageNet, decoded while it is read: imagenet[:PATH] with train/CLASS/*.JPEG and val/CLASS/*.JPEG"
attribution = (
    "ImageNet (Deng et al. 2009; Russakovsky et al. 2015), for non-commercial research and education by the terms of "
    "[image-net.org](https://image-net.org/download); the copyright of the images is that of their owners."
)
indexed = True

FOLDER = "data/imagenet"


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` if PATH exists but is not ImageNet in class folders.

    If PATH is not on this machine, a plan can still be made; its keys then depend on PATH, not on content.
    """
    if not _root(data).exists():
        return {"name": "imagenet", "absent": data.argument or FOLDER, "image_size": data.image_size}
    return class_folders.identity_of("imagenet", data, _scan(data))


def require(data: Data) -> None:
    """Raises `Mistake` if PATH does not exist."""
    root = _root(data)
    if not root.is_dir():
        raise Mistake(
            f"data set imagenet: {root.absolute()} is not a folder. Get ILSVRC2012 from image-net.org, unpack it to "
            "train/CLASS/*.JPEG and val/CLASS/*.JPEG, and name the parent folder: --data imagenet:PATH"
        )


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Writes the index of `harness.data.indexed` into `folder`. Limits and unreadable files: as in the set `folder`."""
    from harness.data import indexed

    taken = chosen(data)
    unreadable = indexed.build(data, folder, taken.root, taken.images, quiet, check_stop)
    return class_folders.facts(data, str(taken.root), taken, unreadable)


def chosen(data: Data, check_stop: Callable[[], None] = lambda: None) -> Chosen:
    """The images that `build` opens."""
    return _scan(data).chosen(data, _root(data))


def _root(data: Data) -> Path:
    return Path(data.argument or FOLDER).expanduser()


def _scan(data: Data) -> Listing:
    require(data)
    root = _root(data)
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise Mistake(f"data set imagenet: {root} has no folder {split}: train/CLASS and val/CLASS are needed")
    if not any(entry.is_dir() for entry in (root / "val").iterdir()):
        raise Mistake(
            f"data set imagenet: {root / 'val'} has no class folders (the official tar has none). Move every image to "
            "the folder of its class (val/n01440764, ...). LOC_val_solution.csv of Kaggle's copy lists the classes, "
            "as do ILSVRC2012_validation_ground_truth.txt and meta.mat of the development kit"
        )
    passed_over = PassedOver()
    splits = class_folders.of_splits(data, root, {split: root / split for split in ("train", "val")}, passed_over)
    class_folders.require_classes(data, splits, passed_over)
    return Listing(splits, passed_over)
