"""The input of metrics of reconstruction: a tokenizer on one validation split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.experiments.experiment import Evaluation, Experiment
from harness.store.runs import Run
from harness.system.machine import Machine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data.splits import Split
    from harness.evaluation.components import Components
    from models.autoencoders.linear import LinearTokenizer
    from models.autoencoders.posterior import Posterior
    from models.autoencoders.tokenizer import Tokenizer

DROPPED_IMAGES = 256  # for the error without a token: decoded once per token

CHUNK = 512  # images in memory at once
ERRORS = 64  # images whose pixels are in memory in float64


class Compared(NamedTuple):
    """The results of one pass over n reconstructions and their originals.

    They are squared errors (n,), squared errors (n,) of images decoded from the latents of the previous image, and
    features (n, D) of reconstructions and originals.
    """

    errors: Tensor
    shuffled_errors: Tensor
    reconstructions: Tensor
    originals: Tensor


class Probed(NamedTuple):
    """Latents (n, L, Z) and classes (n,) of training images and of the images of a split."""

    train: Tensor
    train_labels: np.ndarray
    latents: Tensor
    labels: np.ndarray


class Reconstructed:
    """The input of metrics: one tokenizer on one split. Everything is computed once, on first use.

    Reconstructions and originals are never all in memory: use `pairs`. `components` are those of the training images'
    pixels, for the linear-Gaussian reference.
    """

    paired = True  # reconstructions and originals are compared one by one

    def __init__(
        self,
        tokenizer: Tokenizer | LinearTokenizer,
        experiment: Experiment,
        machine: Machine,
        data: Path,
        split: str,
        step: int,
        components: Components | None = None,
    ):
        self.tokenizer, self.components = tokenizer.to(machine.device), components
        self.experiment, self.machine, self.data, self.split, self.step = experiment, machine, data, split, step

    def __len__(self) -> int:
        return len(self.images)

    @property
    def reference_images(self) -> int:
        """The number of originals in the comparison."""
        return len(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files of the originals, if the data set keeps them."""
        images: Any = self.images.images
        return tuple(map(images.name, range(len(images)))) if hasattr(images, "name") else ()

    @cached_property
    def content(self) -> str:
        """The hash of the data set's arrays."""
        return str(Run(self.data).fact("content"))

    @cached_property
    def images(self) -> Split:
        """The images of the split."""
        from harness.data.splits import open_split

        return open_split(self.data, self.split)

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of every image, (n, L, Z)."""
        return self._encode(self.images.images)

    @cached_property
    def kl(self) -> float | None:
        """KL divergence of the posterior from N(0, I), nats per image; None for a deterministic bottleneck."""
        if self.posterior.log_variance is None:
            return None
        return self.posterior.kl().sum((1, 2)).mean().item()

    @cached_property
    def noise(self) -> Tensor:
        """N(0, 1) noise (n, L, Z) for one sample of every posterior."""
        from harness.system.randomness import Draws

        draws = Draws(self.experiment.seed, "evaluation", self.step)
        return draws.normal(self.split, *self.posterior.mean.shape)

    @cached_property
    def latents(self) -> Tensor:
        """z (n, L, Z): the posterior's mode or a sample, as `evaluation.latents` sets it."""
        if self.experiment.evaluation.latents == "mode":
            return self.posterior.mean
        return self.posterior.sample(self.noise)

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues, largest first and none negative, of the covariance of flattened posterior means."""
        from harness.evaluation.collapse import covariance_eigenvalues

        return covariance_eigenvalues(self.posterior.mean.double().flatten(1).numpy()).clip(0)

    @property
    def decoded(self) -> str:
        """The protocol text on what the reconstructions are decoded from."""
        return f"decoded from the posterior's {self.experiment.evaluation.latents}"

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Chunks of originals and their rounded reconstructions, uint8 (n, 3, H, W)."""
        for rows, originals in self._chunks():
            yield originals, self._decode(self.latents[rows])

    @property
    def errors(self) -> Tensor:
        """Squared error of every image (n,), mean over pixels on [-1, 1]."""
        return self._compared.errors

    @property
    def shuffled_errors(self) -> Tensor:
        """The same if every image is decoded from the latents of the previous image."""
        return self._compared.shuffled_errors

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the reconstructions and of the originals."""
        return self._compared.reconstructions, self._compared.originals

    @cached_property
    def dropped_errors(self) -> Tensor:
        """Rise of the squared error (L,) if a token is replaced by its mean over the images.

        It is a mean over the first `DROPPED_IMAGES` images.
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
    def probed(self) -> Probed:
        """What a generator gets, for classifiers: posterior samples, normalised in every channel as its latents are."""
        import torch

        from harness.data.splits import open_split
        from harness.latents.statistics import LatentMoments
        from harness.system.randomness import Chosen, Draws

        train = open_split(self.data, "train")
        labels = train.labels[: self.experiment.evaluation.probe_images]
        moments, samples = LatentMoments(self.posterior.mean.shape[2]), []
        for rows in chunks(len(labels)):
            posterior = self._encode(train.images[rows])
            draws = Draws(self.experiment.seed, "probe", 0, part=Chosen(range(rows.start, rows.stop)))
            samples.append(posterior.sample(draws.normal("train", *posterior.mean.shape)))
            moments.add(posterior)
        statistics = moments.statistics()
        z = self.posterior.sample(self.noise)
        return Probed(statistics.normalise(torch.cat(samples)), labels, statistics.normalise(z), self.images.labels)

    @cached_property
    def _compared(self) -> Compared:
        """Everything that takes a pass over the reconstructions, computed together so that every image is read once."""
        import torch

        from harness.evaluation import fidelity
        from harness.latents.autoencode import decode_there

        network = fidelity.network(self.experiment.evaluation, self.machine, logits=False)
        known = _features_of_originals(self.data, self.split, self.experiment.evaluation, self.machine)
        shuffled, parts = self.latents.roll(1, 0), []
        for rows, originals in self._chunks():
            reconstructions = decode_there(self.tokenizer, self.latents[rows], self.machine)
            error = squared_errors(originals, reconstructions.cpu())
            shuffled_error = squared_errors(originals, self._decode(shuffled[rows]))
            if (chunk := (rows.start, rows.stop)) not in known:
                known[chunk] = fidelity.outputs(originals, network).features
            features = fidelity.outputs(reconstructions, network).features
            parts.append(Compared(error, shuffled_error, features, known[chunk]))
        return Compared(*map(torch.cat, zip(*parts, strict=True)))

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the split with their originals, uint8 (n, 3, H, W)."""
        from harness.data.tensors import channels_first

        for rows in chunks(len(self)):
            yield rows, channels_first(self.images.images[rows])

    def _encode(self, images: np.ndarray) -> Posterior:
        from harness.latents.autoencode import encode

        return encode(self.tokenizer, images, self.machine)

    def _decode(self, z: Tensor) -> Tensor:
        from harness.latents.autoencode import decode

        return decode(self.tokenizer, z, self.machine)


@lru_cache(maxsize=4)
def _features_of_originals(
    data: Path, split: str, evaluation: Evaluation, machine: Machine
) -> dict[tuple[int, int], Tensor]:
    """Features (n, D) of the images of a split, by chunk; the first pass fills it for all snapshots and rows."""
    return {}


def chunks(n: int) -> Iterator[slice]:
    """Slices of `CHUNK` indices that cover 0 .. n - 1."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def squared_errors(originals: Tensor, images: Tensor) -> Tensor:
    """Squared errors (n,), float64, of uint8 images (n, 3, H, W): means over pixels on [-1, 1]."""
    import torch

    parts = zip(originals.split(ERRORS), images.split(ERRORS), strict=True)
    return torch.cat([((b.double() - a.double()) / 127.5).square().mean((1, 2, 3)) for a, b in parts])
