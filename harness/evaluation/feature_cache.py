"""Outputs of a network for an image set, in one pass; cached by content, so that no set is processed twice."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from harness.data.image_sets import ImageSet
from harness.evaluation.fidelity import BATCH
from harness.evaluation.frechet import FeatureMoments, moments
from harness.experiments.keys import key_of
from harness.store.runs import FEATURES
from harness.system.errors import Mistake
from harness.system.files import (
    create,
    entries,
    fingerprint,
    read_array,
    read_arrays,
    read_json,
    replacing,
    write_json,
)
from harness.system.paths import make_folders

if TYPE_CHECKING:
    from harness.networks.frozen import Outputs

FOLDER = FEATURES
REVISION = 1  # raise it when a measure changes its outputs for the same images
ABOUT = "about.json"  # what the outputs are of, and the checksums of their files
CHUNK = 1024  # features at a time for the moments


@dataclass(frozen=True)
class SeenImages:
    """Features (n, D), logits (n, C) if any, and moments of spatial features (for sFID) if any; read on demand."""

    folder: Path

    @property
    def features(self) -> Tensor:
        return _mapped(self.folder / "features.npy")

    @property
    def logits(self) -> Tensor | None:
        path = self.folder / "logits.npy"
        return _mapped(path) if path.exists() else None

    @cached_property
    def moments(self) -> FeatureMoments:
        """The moments of the features."""
        return moments(part for part in self.features.split(CHUNK))

    @cached_property
    def spatial(self) -> FeatureMoments | None:
        """The moments of the spatial features."""
        path = self.folder / "spatial.npz"
        if not path.exists():
            return None
        stored = read_arrays(path)
        return FeatureMoments(int(stored["n"]), torch.from_numpy(stored["mean"]), torch.from_numpy(stored["scatter"]))


def _mapped(path: Path) -> Tensor:
    """An array mapped copy-on-write: torch wants writable memory, but no write reaches the file."""
    return torch.from_numpy(read_array(path, "c"))


def look(
    images: ImageSet, network: Callable[[Tensor], Outputs], identity: object, store: Path, quiet: bool
) -> SeenImages:
    """The outputs of `network` for all images, from the store if they are in it. `identity` identifies the network.

    Raises `Mistake` if a feature is not finite.
    """
    folder = store / FOLDER / key_of([images.digest, identity, REVISION])
    if folder.exists() and not _whole(folder):
        print(f"warning: {folder} is damaged and is made again", file=sys.stderr)
        shutil.rmtree(folder)
    if not folder.exists():
        make_folders(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        temporary.chmod(0o755)  # users may share a store
        try:
            _write(temporary, images, network, quiet)
            files = {path.name: fingerprint(path) for path in entries(temporary)}
            write_json(temporary / ABOUT, {"images": images.about, "network": identity, "files": files})
            with contextlib.suppress(OSError):  # another process was first, with the same outputs
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return SeenImages(folder)


def _whole(folder: Path) -> bool:
    """Whether every file is as it was written and can be read."""
    try:
        files = read_json(folder / ABOUT)["files"]
        for name, written in files.items():
            if fingerprint(folder / name) != written:
                return False
            (read_arrays if name.endswith(".npz") else read_array)(folder / name)
        return bool(files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(folder: Path, images: ImageSet, network: Callable[[Tensor], Outputs], quiet: bool) -> None:
    """Writes the outputs of the network batch by batch, so that memory does not grow with the number of images."""
    arrays: dict[str, np.memmap] = {}
    spatial: FeatureMoments | None = None
    start = 0
    bar_format = "{n_fmt}/{total_fmt} images, {remaining} left |{bar}| {desc}"  # a long name is cut, no number
    with tqdm(total=len(images), desc=images.about, bar_format=bar_format, disable=quiet or None) as bar:
        for batch in images.batches(BATCH):
            seen = network(torch.from_numpy(batch).permute(0, 3, 1, 2))
            for name, part in seen._asdict().items():
                if part is not None and not part.isfinite().all():
                    raise Mistake(f"{images.about}: {name} of images {start} and on are not finite")
                if part is None or name == "spatial":
                    continue
                if name not in arrays:
                    arrays[name] = create(folder / f"{name}.npy", np.float32, (len(images), part.shape[1]))
                arrays[name][start : start + len(batch)] = part.numpy()
            if seen.spatial is not None:
                of_batch = FeatureMoments.of(seen.spatial)
                spatial = of_batch if spatial is None else spatial + of_batch
            start += len(batch)
            bar.update(len(batch))
    for array in arrays.values():
        array.flush()
    if spatial is not None:
        with replacing(folder / "spatial.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, n=spatial.n, mean=spatial.mean.numpy(), scatter=spatial.scatter.numpy())


def pairs(images: ImageSet, originals: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images and of their originals, uint8 (n, 3, H, W)."""
    for a, b in zip(images.batches(BATCH), originals.batches(BATCH), strict=True):
        yield torch.from_numpy(a).permute(0, 3, 1, 2), torch.from_numpy(b).permute(0, 3, 1, 2)
