"""Metrics, one file each, found by name. A metric module offers

    title: str                         how tables head it, without unit
    about: str                         one line
    unit: str                          "" where it has none
    better: str                        "higher", "lower" or "" where neither is
    digits: int                        decimals that tables print
    splits: tuple                      the validation splits it is measured on
    measure(m) -> Value | None         None where it is not defined
    protocol(m) -> str                 what it takes to measure the same again

A `Measured` computes reconstructions, latents and features once, for all metrics that want them.
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
    from models.tokenizer import Posterior, Tokenizer

BATCH = 128


@dataclass(frozen=True)
class Value:
    """A measured number, the images it rests on, and its standard deviation over subsets where it has one."""

    value: float
    n: int
    deviation: float | None = None


def records(m: Measured, names: list[str] | None = None) -> list[Record]:
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
        import numpy as np
        import torch

        return torch.from_numpy(np.array(self.images.images)).permute(0, 3, 1, 2).contiguous()

    @cached_property
    def errors(self) -> Tensor:
        """Squared error of every image (n,), mean over pixels on [-1, 1]."""
        return self._errors(self.reconstructions)

    @cached_property
    def shuffled_errors(self) -> Tensor:
        """The same when every image is decoded from the latents of the next one."""
        return self._errors(self._decode(self.latents.roll(1, 0)))

    @cached_property
    def distances(self) -> dict[str, float]:
        """Distances of the reconstructions' features from the originals'."""
        from harness.fidelity import distances

        return distances(self.reconstructions, self.originals, self.experiment.evaluation, self.machine)

    @cached_property
    def train_latents(self) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means (n, L Z) of the first training images, and their labels (n,)."""
        from harness.data import open_split

        train = open_split(self.data, "train")
        count = self.experiment.evaluation.probe_images
        means = self._encode(train.images[:count]).mean.flatten(1).numpy()
        return means, train.labels[:count]

    def _encode(self, images: np.ndarray) -> Posterior:
        import torch

        from harness.images import to_tensor
        from models.tokenizer import Posterior

        parts = []
        with torch.no_grad(), self.machine.autocast():
            for start in range(0, len(images), BATCH):
                parts.append(self.tokenizer.encode(self.machine.put(to_tensor(images[start : start + BATCH]))))
        mean = torch.cat([part.mean for part in parts]).cpu()
        log_variances = [part.log_variance for part in parts if part.log_variance is not None]
        return Posterior(mean, torch.cat(log_variances).cpu() if log_variances else None)

    def _decode(self, z: Tensor) -> Tensor:
        import torch

        from harness.images import to_uint8

        with torch.no_grad(), self.machine.autocast():
            return torch.cat([to_uint8(self.tokenizer.decode(self.machine.put(part))).cpu() for part in z.split(BATCH)])

    def _errors(self, images: Tensor) -> Tensor:
        difference = (images.double() - self.originals.double()) / 127.5
        return difference.square().mean((1, 2, 3))
