"""Metrics, one file each, found by name. A metric module offers

    title: str                         how tables head it, without unit
    about: str                         one line
    unit: str                          "" where it has none
    better: str                        "higher", "lower" or "" where neither is
    digits: int                        decimals that tables print
    splits: tuple                      what it is measured on: validation splits, or sets of generated images
    measure(m) -> Value | None         None where it is not defined
    protocol(m) -> str                 what it takes to measure the same again

where m is a `Measured`, a tokenizer on a validation split, or a `Generated`, a set of images beside the training set:
`samples` without and `guided` with guidance, `prior` decoded from noise, and to compare them with `real`, the images of
val, the `mean image` and pixel `noise`. Both compute everything once, for all metrics that want it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness import plugins
from harness.experiment import Experiment, key_of
from harness.machine import Machine
from harness.store import Record

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data import Split
    from harness.frechet import Gaussian
    from harness.measures import Seen
    from models.tokenizer import Posterior, Tokenizer


PROTOCOL = "lite"  # of all that stages measure; the others of `harness.protocols` are for `harness.evaluate`
DROPPED_IMAGES = 256  # decoded once for every token
SETS = ("samples", "guided", "prior", "real", "mean image", "noise")


@dataclass(frozen=True)
class Value:
    """A measured number, the images it rests on, and what is known of its error.

    `deviation` is the standard deviation over subsets, `interval` a 95 % interval; the protocol says of what.
    """

    value: float
    n: int
    deviation: float | None = None
    interval: tuple[float, float] | None = None


def protocol_id(name: str, metric: str, protocol: str, split: str, n: int) -> str:
    """The name of a protocol and eight digits that stand for all that it says of a number, N included."""
    return f"{name}-{key_of([metric, protocol, split, n])[:8]}"


def records(m: Measured | Generated, names: list[str] | None = None) -> list[Record]:
    """The records of the metrics `names` (default: all) that are defined on the split of `m`."""
    found = []
    for name in names or plugins.names("harness.metrics"):
        metric = plugins.load("harness.metrics", name, "metric")
        value = metric.measure(m) if m.split in metric.splits else None
        if value is not None:
            protocol = metric.protocol(m)
            identity = protocol_id(PROTOCOL, name, protocol, m.split, value.n)
            error = value.deviation, value.interval
            found.append(Record(name, value.value, value.n, m.step, m.split, protocol, *error, identity))
    return found


class Measured:
    """What metrics look at: one tokenizer on one split, everything computed on first use and once."""

    def __init__(
        self, tokenizer: Tokenizer, experiment: Experiment, machine: Machine, data: Path, split: str, step: int
    ):
        self.tokenizer = tokenizer.to(machine.device)
        self.experiment, self.machine, self.data, self.split, self.step = experiment, machine, data, split, step

    @cached_property
    def images(self) -> Split:
        """The split."""
        from harness.data import open_split

        return open_split(self.data, self.split)

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of every image, (n, L, Z)."""
        return self._encode(self.images.images)

    @cached_property
    def noise(self) -> Tensor:
        """N(0, 1) (n, L, Z): what one sample of every posterior is drawn with."""
        from harness.draws import Draws

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
        from harness.collapse import covariance_eigenvalues

        return covariance_eigenvalues(self.posterior.mean.double().flatten(1).numpy()).clip(0)

    @property
    def decoded(self) -> str:
        """What the reconstructions are decoded from, for protocols."""
        return f"decoded from the posterior's {self.experiment.evaluation.latents}"

    @cached_property
    def reconstructions(self) -> Tensor:
        """uint8 (n, 3, H, W), rounded."""
        return self._decode(self.latents)

    @cached_property
    def originals(self) -> Tensor:
        """uint8 (n, 3, H, W)."""
        from harness.images import channels_first

        return channels_first(self.images.images)

    @cached_property
    def errors(self) -> Tensor:
        """Squared error of every image (n,), mean over pixels on [-1, 1]."""
        return self._errors(self.reconstructions)

    @cached_property
    def shuffled_errors(self) -> Tensor:
        """The same when every image is decoded from the latents of the next one."""
        return self._errors(self._decode(self.latents.roll(1, 0)))

    @cached_property
    def dropped_errors(self) -> Tensor:
        """What each token brings: rise of the squared error (L,) when it is replaced by its mean over the images.

        Mean over the first `DROPPED_IMAGES`.
        """
        import torch

        z, means = self.latents[:DROPPED_IMAGES], self.latents.mean(0)
        errors = []
        for token in range(z.shape[1]):
            without = z.clone()
            without[:, token] = means[token]
            errors.append(self._errors(self._decode(without)).mean())
        return torch.stack(errors) - self.errors[:DROPPED_IMAGES].mean()

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the reconstructions and of the originals."""
        from harness import fidelity

        sets, side = (self.reconstructions, self.originals), self.experiment.evaluation.metrics_px
        reconstructions, originals = (fidelity.features(images, side, self.machine) for images in sets)
        return reconstructions, originals

    @cached_property
    def train_latents(self) -> tuple[Tensor, np.ndarray]:
        """Posterior means (n, L, Z) of the first training images, and their labels (n,)."""
        from harness.data import open_split

        train = open_split(self.data, "train")
        count = self.experiment.evaluation.probe_images
        return self._encode(train.images[:count]).mean, train.labels[:count]

    def _encode(self, images: np.ndarray) -> Posterior:
        from harness.coding import encode

        return encode(self.tokenizer, images, self.machine)

    def _decode(self, z: Tensor) -> Tensor:
        from harness.coding import decode

        return decode(self.tokenizer, z, self.machine)

    def _errors(self, images: Tensor) -> Tensor:
        difference = (images.double() - self.originals[: len(images)].double()) / 127.5
        return difference.square().mean((1, 2, 3))


class Generated:
    """What metrics look at: what Lite2 says of a set of n images, beside its features (N, D) of the training images.

    `how` says where the images come from, for protocols; `step` is the step of the generator's training.
    """

    def __init__(self, looked_at: Seen, reference: Tensor, experiment: Experiment, split: str, how: str, step: int = 0):
        self.looked_at, self.reference, self.experiment = looked_at, reference, experiment
        self.split, self.how, self.step = split, how, step

    def __len__(self) -> int:
        return len(self.looked_at.features)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the images and of the training images."""
        return self.looked_at.features, self.reference

    @cached_property
    def reference_gaussian(self) -> Gaussian:
        """The Gaussian fitted to the features of the training images."""
        from harness.frechet import Moments

        return Moments.of(self.reference).gaussian

    @cached_property
    def precision_recall(self) -> tuple[float, float] | None:
        """Of the images against as many training images, evenly spaced over the training set; None for too few."""
        import torch

        from harness.fidelity import NEIGHBOURS, precision_recall

        images, reference = self.features
        count = min(len(images), len(reference))
        if count <= NEIGHBOURS:
            return None
        return precision_recall(images, reference[torch.arange(count) * len(reference) // count])
