"""Principal components of the training images' pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from harness.store.runs import Run
from harness.system.machine import Machine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

COMPONENTS = "components.npz"
LARGEST_COVARIANCE = 16_384  # pixels or images: 1 GiB in float32
IMAGES_BYTES = 4 * 2**30  # images at most in memory, in float32, where there are more pixels than that
MOST_COMPONENTS = 4096  # as many numbers as the paper's largest latents have
CHUNK = 1024  # images at a time
ROUNDING = 1e-6  # of the largest variance: what is below is rounding


class Components(NamedTuple):
    """Mean (D,), components (K, D), all eigenvalues of the pixel covariance, and how many images they are made from.

    D = 3HW pixels of images in [-1, 1], channels first. Components and eigenvalues fall by variance.
    """

    mean: Tensor
    vectors: Tensor
    eigenvalues: Tensor
    images: int

    def save(self, run: Run) -> None:
        """Writes the components into the folder of a run, for `load`."""
        import numpy as np

        arrays = {name: getattr(self, name).numpy() for name in ("mean", "vectors", "eigenvalues")}
        np.savez(run.folder / COMPONENTS, images=self.images, **arrays)


def load(run: Run) -> Components:
    """The components in the folder of a finished run."""
    import torch

    stored = run.arrays(COMPONENTS)
    mean, vectors, eigenvalues = (torch.from_numpy(stored[name]) for name in ("mean", "vectors", "eigenvalues"))
    return Components(mean, vectors, eigenvalues, int(stored["images"]))


def images_used(images: int, image_size: int) -> int:
    """How many of the training images the components are made from: all, unless memory does not hold them."""
    pixels = 3 * image_size**2
    if pixels <= LARGEST_COVARIANCE:
        return images
    return min(images, LARGEST_COVARIANCE, IMAGES_BYTES // (4 * pixels))


def fitted(images: np.ndarray, machine: Machine) -> Components:
    """The components of uint8 images (n, H, W, 3), by the covariance of pixels or, if it is smaller, of images."""
    import torch

    count, pixels = images_used(len(images), images.shape[1]), images[:1].size
    total = torch.zeros(pixels, dtype=torch.float64)
    for part in _parts(images, count):
        total += part.double().sum(0)
    mean = (total / count).float()
    if count < pixels:
        x = torch.empty(count, pixels)
        for rows, part in zip(x.split(CHUNK), _parts(images, count), strict=True):
            rows.copy_(part - mean)
        x = machine.put(x)
        variances, vectors = _largest_first(x @ x.T / (count - 1))
        rows = vectors.T[:MOST_COMPONENTS] @ x
        rows /= rows.norm(dim=1, keepdim=True)
    else:
        covariance = torch.zeros(pixels, pixels, device=machine.device)
        for part in _parts(images, count):
            centred = machine.put(part - mean)
            covariance += centred.T @ centred
        variances, vectors = _largest_first(covariance / (count - 1))
        rows = vectors.T[:MOST_COMPONENTS]
    return Components(mean, rows.cpu().contiguous(), variances.cpu(), count)


def _parts(images: np.ndarray, count: int) -> Iterator[Tensor]:
    """The first `count` images as (n, D) in [-1, 1], chunk by chunk."""
    from harness.data.tensors import to_tensor

    for start in range(0, count, CHUNK):
        yield to_tensor(images[start : min(start + CHUNK, count)]).flatten(1)


def _largest_first(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (columns), largest first, without those that are rounding."""
    import torch

    variances, vectors = (part.flip(-1) for part in torch.linalg.eigh(covariance))
    kept = variances > ROUNDING * variances[0]
    return variances[kept], vectors[:, kept]
