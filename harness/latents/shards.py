"""Shards: files with the latents of the training images, and what a generator reads from them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.rows import Rows
from harness.latents.statistics import LatentMoments, load_statistics
from harness.store.runs import Run
from harness.system.files import checksums, read_json, replacing, write_json
from harness.system.randomness import WHOLE, Part
from harness.training.ahead import Ahead, OwnStream, Reading
from harness.training.batches import Order
from models.autoencoders.posterior import Posterior

PARAMETERS = ("mean", "log_variance")  # of a posterior
CODEBOOK = "codebook.npy"  # of latents that are codes


@dataclass(frozen=True)
class Shard:
    """Images `start` to `stop` of a split: one process writes their latents, completely or not at all.

    The files are {split}_{parameter}_{start}.npy for each parameter of the posterior, float16 (images, views, L, Z),
    and {split}_{start}.json, written last, with their checksums, the sums over them and a digest of the inputs.
    """

    split: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def array(self, parameter: str) -> str:
        """The file name of a parameter's array. Shards sorted by name are in the order of the images."""
        return f"{self.split}_{parameter}_{self.start:09d}.npy"

    @property
    def last(self) -> str:
        """The name of the file that is written last."""
        return f"{self.split}_{self.start:09d}.json"

    @property
    def names(self) -> set[str]:
        """The names of all files of the shard."""
        return {self.last, *map(self.array, PARAMETERS)}

    def write(self, folder: Path, arrays: Mapping[str, np.ndarray], sums: LatentMoments, made_from: str) -> None:
        """Writes the array of each parameter, then the JSON file that `read` checks."""
        for parameter, array in arrays.items():
            with replacing(folder / self.array(parameter)) as temporary, temporary.open("wb") as file:
                np.save(file, array)
        names = [self.array(parameter) for parameter in arrays]
        digests = dict(zip(names, checksums([folder / name for name in names]), strict=True))
        content = {"images": len(self), "made_from": made_from, "sha256": digests, "sums": sums.to_json()}
        write_json(folder / self.last, content)

    def read(self, folder: Path, made_from: str) -> LatentMoments | None:
        """The sums over the shard; None if it is absent, incomplete, damaged or made from other inputs."""
        try:
            content = read_json(folder / self.last)
            names = list(content["sha256"])
            digests = dict(zip(names, checksums([folder / name for name in names]), strict=True))
            sums = content["sums"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        expected = {"images": len(self), "made_from": made_from, "sha256": digests, "sums": sums}
        return LatentMoments.from_json(sums) if content == expected else None


class Sharded:
    """Arrays (n_k, views, L, Z) that act as one concatenated array of `shape` (n, views, L, Z)."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = [np.asarray(array) for array in arrays]  # indexing is faster than in a memmap
        self.starts = np.cumsum([0, *map(len, arrays)])
        self.shape = (int(self.starts[-1]), *arrays[0].shape[1:])
        self.nbytes = sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.arrays).astype(dtype or self.arrays[0].dtype, copy=False)

    def __getitem__(self, index: tuple[np.ndarray, np.ndarray | int]) -> np.ndarray:
        """The rows (B, L, Z) of images (B,), the first axis, and of views (B,) or one view, the second axis."""
        images, views = np.broadcast_arrays(*index)
        shards = np.searchsorted(self.starts, images, side="right") - 1
        order = np.argsort(shards, kind="stable")
        rows = np.empty((len(images), *self.shape[2:]), self.arrays[0].dtype)
        for group in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            shard = shards[group[0]]
            rows[group] = self.arrays[shard][images[group] - self.starts[shard], views[group]]
        return rows


class Latents:
    """Posteriors (n, views, L, Z) of one split: of its images and, in `train`, their mirror images."""

    def __init__(self, run: Run, split: str, labels: np.ndarray, device: str):
        files = sorted(run.result()["files"])
        names = {parameter: [n for n in files if n.startswith(f"{split}_{parameter}")] for parameter in PARAMETERS}

        def array(parameter: str) -> Rows:
            return Rows(Sharded(run.mapped(names[parameter])), device)

        self.mean = array("mean")
        self.parameters = [self.mean, *([array("log_variance")] if names["log_variance"] else [])]
        self.ahead: Ahead | None = None
        self.labels, self.home = Rows(labels, device), self.mean.home
        self.shape = self.mean.array.shape
        self.statistics = load_statistics(run).to(device)
        self.run = run

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def codebook(self) -> Tensor:
        """The codes (n, Z) of which the latents are made, normalised as they are."""
        codes = torch.from_numpy(self.run.array(CODEBOOK))
        return self.statistics.normalise(codes.to(self.statistics.mean.device))

    def batch(self, order: Order, step: int, part: Part = WHOLE) -> tuple[Tensor, Tensor]:
        """Normalised samples x_0 (B, L, Z) and classes y (B,) of a part of a step's batch."""
        indices, flips = order.indices(step, part), order.flips(step, part).long()
        noise = order.draws(step, part).normal("latents", len(indices), *self.shape[2:])
        if self.home != self.mean.device and self.ahead is None:
            self.ahead = Ahead(functools.partial(self._reading, order), OwnStream())
        if self.ahead is None:
            return self.at(indices, flips, noise)
        return self._sampled(self.ahead(step, part), noise), self.labels[indices,]

    def at(self, indices: Tensor, views: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised samples x_0 (B, L, Z), drawn with `noise` of the same shape, and classes y (B,) of some images.

        `indices` and `views` are (B,): the images, and 1 for the mirror image.
        """
        parameters = tuple(rows[indices, views] for rows in self.parameters)
        return self._sampled(parameters, noise), self.labels[indices,]

    def _reading(self, order: Order, step: int, part: Part) -> Reading:
        """What reads the parameters of the posteriors of a part of a step's batch into the memory of the host."""
        where = order.indices(step, part).numpy(), order.flips(step, part).long().numpy()
        return lambda: tuple(torch.from_numpy(rows.array[where]) for rows in self.parameters)

    def _sampled(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Normalised samples of posteriors with these means and, if there are any, log-variances."""
        mean, *log_variance = (part.float() for part in parameters)
        return self.statistics.normalise(Posterior(mean, log_variance[0] if log_variance else None).sample(noise))
