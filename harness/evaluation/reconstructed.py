"""What metrics look at: a tokenizer on one validation split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.experiments.experiment import Experiment
from harness.system.machine import Machine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data.splits import Split
    from models.tokenizer import Posterior, Tokenizer

DROPPED_IMAGES = 256  # decoded once for every token

CHUNK = 512  # images in memory at once
ERRORS = 64  # images whose pixels are in memory in float64


class Compared(NamedTuple):
    """What one pass over n reconstructions and their originals gives.

    Squared errors (n,), the same of images decoded from the latents of the image before, features (n, D) of both.
    """

    errors: Tensor
    shuffled_errors: Tensor
    reconstructions: Tensor
    originals: Tensor


class Reconstructed:
    """What metrics look at: one tokenizer on one split, everything computed on first use and once.

    Reconstructions and originals are never all in memory: they come in `pairs`.
    """

    paired = True  # reconstructions and originals are compared one by one

    def __init__(
        self, tokenizer: Tokenizer, experiment: Experiment, machine: Machine, data: Path, split: str, step: int
    ):
        self.tokenizer = tokenizer.to(machine.device)
        self.experiment, self.machine, self.data, self.split, self.step = experiment, machine, data, split, step

    def __len__(self) -> int:
        return len(self.images)

    @property
    def reference_images(self) -> int:
        """How many images the reconstructions are compared with."""
        return len(self)

    @cached_property
    def images(self) -> Split:
        """The split."""
        from harness.data.splits import open_split

        return open_split(self.data, self.split)

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of every image, (n, L, Z)."""
        return self._encode(self.images.images)

    @cached_property
    def kl(self) -> float | None:
        """KL divergence of the posterior from N(0, I), nats per image; None of a deterministic bottleneck."""
        if self.posterior.log_variance is None:
            return None
        return self.posterior.kl().sum((1, 2)).mean().item()

    @cached_property
    def noise(self) -> Tensor:
        """N(0, 1) (n, L, Z): what one sample of every posterior is drawn with."""
        from harness.system.randomness import Draws

        draws = Draws(self.experiment.seed, "evaluation", self.step)
        return draws.normal(self.split, *self.posterior.mean.shape)

    @cached_property
    def latents(self) -> Tensor:
        """z (n, L, Z): the posterior's mode, or a sample where the evaluation says so."""
        if self.experiment.evaluation.latents == "mode":
            return self.posterior.mean
        return self.posterior.sample(self.noise)

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Those of the covariance over images of the flattened posterior means, largest first, none below 0."""
        from harness.evaluation.collapse import covariance_eigenvalues

        return covariance_eigenvalues(self.posterior.mean.double().flatten(1).numpy()).clip(0)

    @property
    def decoded(self) -> str:
        """What the reconstructions are decoded from, for protocols."""
        return f"decoded from the posterior's {self.experiment.evaluation.latents}"

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Originals and reconstructions, rounded, uint8 (n, 3, H, W), chunk by chunk."""
        for rows, originals in self._chunks():
            yield originals, self._decode(self.latents[rows])

    @property
    def errors(self) -> Tensor:
        """Squared error of every image (n,), mean over pixels on [-1, 1]."""
        return self._compared.errors

    @property
    def shuffled_errors(self) -> Tensor:
        """The same when every image is decoded from the latents of the one before it."""
        return self._compared.shuffled_errors

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the reconstructions and of the originals."""
        return self._compared.reconstructions, self._compared.originals

    @cached_property
    def dropped_errors(self) -> Tensor:
        """What each token brings: rise of the squared error (L,) when it is replaced by its mean over the images.

        Mean over the first `DROPPED_IMAGES`.
        """
        import torch

        from harness.data.tensors import channels_first

        z, means = self.latents[:DROPPED_IMAGES], self.latents.mean(0)
        originals = channels_first(self.images.images[:DROPPED_IMAGES])
        errors = []
        for token in range(z.shape[1]):
            without = z.clone()
            without[:, token] = means[token]
            errors.append(squared_errors(originals, self._decode(without)).mean())
        return torch.stack(errors) - squared_errors(originals, self._decode(z)).mean()

    @cached_property
    def train_latents(self) -> tuple[Tensor, np.ndarray]:
        """Posterior means (n, L, Z) of the first training images, and their labels (n,)."""
        import torch

        from harness.data.splits import open_split

        train = open_split(self.data, "train")
        labels = train.labels[: self.experiment.evaluation.probe_images]
        parts = (self._encode(train.images[rows]).mean for rows in chunks(len(labels)))
        return torch.cat(list(parts)), labels

    @cached_property
    def _compared(self) -> Compared:
        """What stages that look at reconstructions want all of, so that every image is opened once for it."""
        import torch

        from harness.evaluation import fidelity

        network = fidelity.network(self.experiment.evaluation, self.machine, logits=False)
        shuffled, parts = self.latents.roll(1, 0), []
        for rows, originals in self._chunks():
            reconstructions = self._decode(self.latents[rows])
            errors = (squared_errors(originals, x) for x in (reconstructions, self._decode(shuffled[rows])))
            features = (fidelity.seen(x, network).features for x in (reconstructions, originals))
            parts.append(Compared(*errors, *features))
        return Compared(*map(torch.cat, zip(*parts, strict=True)))

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Places in the split, and the originals there, uint8 (n, 3, H, W)."""
        from harness.data.tensors import channels_first

        for rows in chunks(len(self)):
            yield rows, channels_first(self.images.images[rows])

    def _encode(self, images: np.ndarray) -> Posterior:
        from harness.latents.autoencode import encode

        return encode(self.tokenizer, images, self.machine)

    def _decode(self, z: Tensor) -> Tensor:
        from harness.latents.autoencode import decode

        return decode(self.tokenizer, z, self.machine)


def chunks(n: int) -> Iterator[slice]:
    """The places 0 .. n - 1, `CHUNK` at a time."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def squared_errors(originals: Tensor, images: Tensor) -> Tensor:
    """Squared error of every image (n,) of uint8 images (n, 3, H, W), mean over pixels on [-1, 1], in float64."""
    import torch

    parts = zip(originals.split(ERRORS), images.split(ERRORS), strict=True)
    return torch.cat([((b.double() - a.double()) / 127.5).square().mean((1, 2, 3)) for a, b in parts])
