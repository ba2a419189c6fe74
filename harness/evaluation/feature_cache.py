"""What a network sees of an image set, in one pass, kept by content: the same images are never looked at twice."""

from __future__ import annotations

import contextlib
import json
import shutil
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
from harness.system.errors import Mistake
from harness.system.files import replacing

if TYPE_CHECKING:
    from harness.networks.frozen import Seen

FOLDER = "features"  # of the store
REVISION = 1  # raised whenever a measure would see something else in the same images
CHUNK = 1024  # features that moments take at once


@dataclass(frozen=True)
class SeenImages:
    """Features (n, D), logits (n, C) if any, in files that are read as needed; and the moments of sFID's, if any."""

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
        """Of the features."""
        return moments(part for part in self.features.split(CHUNK))

    @cached_property
    def spatial(self) -> FeatureMoments | None:
        """Of the features that keep their places."""
        path = self.folder / "spatial.npz"
        if not path.exists():
            return None
        stored = np.load(path)
        return FeatureMoments(int(stored["n"]), torch.from_numpy(stored["mean"]), torch.from_numpy(stored["scatter"]))


def _mapped(path: Path) -> Tensor:
    """Mapped copy-on-write, as torch wants memory that may be written to: nothing reaches the file."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def look(images: ImageSet, network: Callable[[Tensor], Seen], identity: object, store: Path, quiet: bool) -> SeenImages:
    """What `network`, which `identity` stands for, sees of all images; from the store where it is there.

    Raises `Mistake` where a feature is not finite.
    """
    folder = store / FOLDER / key_of([images.digest, identity, REVISION])
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        temporary.chmod(0o755)  # a store may be shared
        try:
            _write(temporary, images, network, quiet)
            (temporary / "about.json").write_text(json.dumps({"images": images.about, "network": identity}, indent=1))
            with contextlib.suppress(OSError):  # another process was first: what it saw is the same
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return SeenImages(folder)


def _write(folder: Path, images: ImageSet, network: Callable[[Tensor], Seen], quiet: bool) -> None:
    """Batch by batch, so that memory does not grow with the number of images."""
    arrays: dict[str, np.memmap] = {}
    spatial: FeatureMoments | None = None
    start = 0
    with tqdm(total=len(images), unit="image", desc=images.about, disable=quiet or None) as bar:
        for batch in images.batches(BATCH):
            seen = network(torch.from_numpy(batch).permute(0, 3, 1, 2))
            for name, part in seen._asdict().items():
                if part is not None and not part.isfinite().all():
                    raise Mistake(f"{images.about}: {name} of images {start} and on are not finite")
                if part is None or name == "spatial":
                    continue
                if name not in arrays:
                    path, shape = folder / f"{name}.npy", (len(images), part.shape[1])
                    arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
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
    """Batches of uint8 (n, 3, H, W): images and the originals that they belong to."""
    for a, b in zip(images.batches(BATCH), originals.batches(BATCH), strict=True):
        yield torch.from_numpy(a).permute(0, 3, 1, 2), torch.from_numpy(b).permute(0, 3, 1, 2)
