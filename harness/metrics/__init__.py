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
from harness.experiment import Experiment
from harness.machine import Machine
from harness.store import Record

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data import Split
    from harness.fidelity import Features
    from models.tokenizer import Posterior, Tokenizer


SETS = ("samples", "guided", "prior", "real", "mean image", "noise")


@dataclass(frozen=True)
class Value:
    """A measured number, the images it rests on, and its standard deviation over subsets where it has one."""

    value: float
    n: int
    deviation: float | None = None


def records(m: Measured | Generated, names: list[str] | None = None) -> list[Record]:
    """The records of the metrics `names` (default: all) that are defined on the split of `m`."""
    found = []
    for name in names or plugins.names("harness.metrics"):
        metric = plugins.load("harness.metrics", name, "metric")
        value = metric.measure(m) if m.split in metric.splits else None
        if value is not None:
            found.append(Record(name, value.value, value.n, m.step, m.split, metric.protocol(m), value.deviation))
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
    def latents(self) -> Tensor:
        """z (n, L, Z): the posterior's mode, or a sample where the evaluation says so."""
        from harness.draws import Draws

        if self.experiment.evaluation.latents == "mode":
            return self.posterior.mean
        draws = Draws(self.experiment.seed, "evaluation", self.step)
        return self.posterior.sample(draws.normal(self.split, *self.posterior.mean.shape))

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
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the reconstructions and of the originals."""
        from harness import fidelity

        sets, side = (self.reconstructions, self.originals), self.experiment.evaluation.metrics_px
        reconstructions, originals = (fidelity.features(images, side, self.machine) for images in sets)
        return reconstructions, originals

    @cached_property
    def train_latents(self) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means (n, L Z) of the first training images, and their labels (n,)."""
        from harness.data import open_split

        train = open_split(self.data, "train")
        count = self.experiment.evaluation.probe_images
        means = self._encode(train.images[:count]).mean.flatten(1).numpy()
        return means, train.labels[:count]

    def _encode(self, images: np.ndarray) -> Posterior:
        from harness.coding import encode

        return encode(self.tokenizer, images, self.machine)

    def _decode(self, z: Tensor) -> Tensor:
        from harness.coding import decode

        return decode(self.tokenizer, z, self.machine)

    def _errors(self, images: Tensor) -> Tensor:
        difference = (images.double() - self.originals.double()) / 127.5
        return difference.square().mean((1, 2, 3))


class Generated:
    """What metrics look at: what Lite2 says of a set of n images, beside its features (N, D) of the training images.

    `how` says where the images come from, for protocols; `step` is the step of the generator's training.
    """

    def __init__(
        self, looked_at: Features, reference: Tensor, experiment: Experiment, split: str, how: str, step: int = 0
    ):
        self.looked_at, self.reference, self.experiment = looked_at, reference, experiment
        self.split, self.how, self.step = split, how, step

    def __len__(self) -> int:
        return len(self.looked_at.features)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the images and of the training images."""
        return self.looked_at.features, self.reference

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
