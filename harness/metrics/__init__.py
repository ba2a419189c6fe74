"""Metrics, one file each, found by name. A metric module offers

    title: str                         how tables head it, without unit
    about: str                         one line
    unit: str                          "" where it has none
    better: str                        "higher", "lower" or "" where neither is
    digits: int                        decimals that tables print
    splits: tuple                      what it is measured on: validation splits, or sets of generated images
    names: tuple                       optional: the metric looks through the network of the experiment's measure. How
                                       it is called before the name of another network than Lite2, and by the protocol
                                       of the literature that a number meets, None where it is defined by none
    measure(m) -> Value | None         None where it is not defined
    protocol(m) -> str                 what it takes to measure the same again

where m is a `Measured`, a tokenizer on a validation split, or a `Generated`, a set of images beside the training set:
`samples` without and `guided` with guidance, `prior` decoded from noise, and to compare them with `real`, the images of
val, the `mean image` and pixel `noise`. Both compute everything once, for all metrics that want it, and images are in
memory chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from harness import plugins, protocols
from harness.experiment import Experiment, key_of
from harness.machine import Machine
from harness.store import Record

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data import Split
    from harness.frechet import Gaussian, Moments
    from harness.measures import Seen
    from models.tokenizer import Posterior, Tokenizer


PROTOCOL = "lite"  # of what Lite2 measures, and of what no network does
DROPPED_IMAGES = 256  # decoded once for every token
REFERENCE_IMAGES = 10_000  # of precision and recall at most, as ADM's evaluator has them
CHUNK = 512  # images in memory at once
ERRORS = 64  # images whose pixels are in memory in float64
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


def protocol_of(m: Measured | Generated, metric: ModuleType, n: int) -> str:
    """The protocol that a number over `n` images meets, the name of the measure where it meets none."""
    measure = m.experiment.evaluation.measure
    if measure is None or not hasattr(metric, "names"):
        return PROTOCOL
    data, published = m.experiment.data, metric.names[1]
    met = protocols.met(measure, m.paired, data.image_size, data.crop, n, m.reference_images) if published else None
    return met or measure


def title(name: str, protocol: str) -> str:
    """How the metric `name` is called where a number is by the protocol of this name: FID only where it is FID."""
    metric = plugins.load("harness.metrics", name, "metric")
    return str(metric.title) if protocol == PROTOCOL else full_title(name, protocol)


def full_title(name: str, protocol: str) -> str:
    """The same with the network where there is one, for places where nothing around it says that it is Lite2."""
    metric = plugins.load("harness.metrics", name, "metric")
    if not hasattr(metric, "names"):
        return str(metric.title)
    alone, published = metric.names
    measure = "lite2" if protocol == PROTOCOL else protocol
    if measure not in plugins.names("harness.measures"):
        return str(published)
    return f"{alone} ({plugins.load('harness.measures', measure, 'measure').short})"


def protocol_in(protocol_id: str) -> str:
    """The name of a protocol in an id."""
    return protocol_id.rpartition("-")[0] or PROTOCOL


def records(m: Measured | Generated, names: list[str] | None = None) -> list[Record]:
    """The records of the metrics `names` (default: all) that are defined on the split of `m`."""
    found = []
    for name in names or plugins.names("harness.metrics"):
        metric = plugins.load("harness.metrics", name, "metric")
        value = metric.measure(m) if m.split in metric.splits else None
        if value is not None:
            protocol = metric.protocol(m)
            identity = protocol_id(protocol_of(m, metric, value.n), name, protocol, m.split, value.n)
            error = value.deviation, value.interval
            found.append(Record(name, value.value, value.n, m.step, m.split, protocol, *error, identity))
    return found


class Compared(NamedTuple):
    """What one pass over n reconstructions and their originals gives.

    Squared errors (n,), the same of images decoded from the latents of the image before, features (n, D) of both.
    """

    errors: Tensor
    shuffled_errors: Tensor
    reconstructions: Tensor
    originals: Tensor


class Measured:
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

        from harness.images import channels_first

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

        from harness.data import open_split

        train = open_split(self.data, "train")
        labels = train.labels[: self.experiment.evaluation.probe_images]
        parts = (self._encode(train.images[rows]).mean for rows in chunks(len(labels)))
        return torch.cat(list(parts)), labels

    @cached_property
    def _compared(self) -> Compared:
        """What stages that look at reconstructions want all of, so that every image is opened once for it."""
        import torch

        from harness import fidelity

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
        from harness.images import channels_first

        for rows in chunks(len(self)):
            yield rows, channels_first(self.images.images[rows])

    def _encode(self, images: np.ndarray) -> Posterior:
        from harness.coding import encode

        return encode(self.tokenizer, images, self.machine)

    def _decode(self, z: Tensor) -> Tensor:
        from harness.coding import decode

        return decode(self.tokenizer, z, self.machine)


def chunks(n: int) -> Iterator[slice]:
    """The places 0 .. n - 1, `CHUNK` at a time."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def squared_errors(originals: Tensor, images: Tensor) -> Tensor:
    """Squared error of every image (n,) of uint8 images (n, 3, H, W), mean over pixels on [-1, 1], in float64."""
    import torch

    parts = zip(originals.split(ERRORS), images.split(ERRORS), strict=True)
    return torch.cat([((b.double() - a.double()) / 127.5).square().mean((1, 2, 3)) for a, b in parts])


class Reference(NamedTuple):
    """Features (N, D) of the training images; of many a part, evenly spaced, beside the moments of all."""

    features: Tensor
    moments: Moments | None = None

    @property
    def images(self) -> int:
        """How many training images there are."""
        return len(self.features) if self.moments is None else self.moments.n


class Generated:
    """What metrics look at: what a network says of a set of n images, beside what it says of the training images.

    `how` says where the images come from, for protocols; `step` is the step of the generator's training.
    """

    paired = False  # the images and those of the reference are compared as sets

    def __init__(
        self, looked_at: Seen, reference: Reference, experiment: Experiment, split: str, how: str, step: int = 0
    ):
        self.looked_at, self.reference, self.experiment = looked_at, reference, experiment
        self.split, self.how, self.step = split, how, step

    @property
    def reference_images(self) -> int:
        """How many images the set is compared with."""
        return self.reference.images

    def __len__(self) -> int:
        return len(self.looked_at.features)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the images, and of the training images or of a part of them."""
        return self.looked_at.features, self.reference.features

    @cached_property
    def reference_gaussian(self) -> Gaussian:
        """The Gaussian fitted to the features of the training images."""
        from harness.frechet import Moments

        return (self.reference.moments or Moments.of(self.reference.features)).gaussian

    @property
    def neighbours(self) -> int:
        """How many training images precision and recall look at, evenly spaced over the training set."""
        return min(len(self), len(self.reference.features), REFERENCE_IMAGES)

    @cached_property
    def precision_recall(self) -> tuple[float, float] | None:
        """Of the images against as many training images, at most `REFERENCE_IMAGES`; None for too few."""
        import torch

        from harness.fidelity import NEIGHBOURS, precision_recall

        images, reference = self.features
        count = self.neighbours
        if count <= NEIGHBOURS:
            return None
        return precision_recall(images, reference[torch.arange(count) * len(reference) // count])
