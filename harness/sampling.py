"""Drawing latents from a trained generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import weights
from harness.draws import generator
from harness.experiment import Experiment
from harness.latents import Statistics, load_statistics
from harness.machine import Machine
from harness.store import Run
from models.flow import guided
from models.samplers import SAMPLERS

BATCH = 256
Map = Callable[[Callable[[Sequence[int]], Tensor], Iterable[Sequence[int]]], Iterable[Tensor]]


class Noise:
    """N(0, I) of shape (B, *shape), image by image from (seed, index): neither batches nor their order change it."""

    def __init__(self, seed: int, indices: Sequence[int], shape: tuple[int, ...], device: str = "cpu"):
        self.generators = [generator(seed, "noise", index) for index in indices]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """The next draw of every image."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators]).to(self.device)


def shape(experiment: Experiment) -> tuple[int, int]:
    """(L, Z)."""
    return experiment.tokenizer.tokens, experiment.tokenizer.channels


@dataclass(frozen=True)
class Source:
    """A trained generator on `machine`, with the statistics of the latents that it was trained on."""

    experiment: Experiment
    network: nn.Module
    statistics: Statistics
    classes: int
    machine: Machine

    def draw(self, indices: Sequence[int], w: float, over: Map = map) -> Tensor:
        """Latents z (n, L, Z), on the CPU, at guidance w: image i is of class i mod C, from the noise of (seed, i).

        Sampler, steps, interval of guidance and seed are the experiment's; `over` maps the batches.
        """
        batches = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
        return self.statistics.denormalise(torch.cat(list(over(lambda batch: self._batch(batch, w), batches))))

    @torch.no_grad()
    def _batch(self, indices: Sequence[int], w: float) -> Tensor:
        sampling, guidance = self.experiment.sampling, self.experiment.guidance
        y = self.machine.put(torch.tensor(indices) % self.classes)
        noise = Noise(self.experiment.seed, indices, shape(self.experiment), self.machine.device)
        velocity = guided(self.network, y, self.classes, w, (guidance.low, guidance.high))
        with self.machine.autocast():
            return SAMPLERS[sampling.sampler](velocity, noise(), sampling.steps, noise).cpu()


def load(experiment: Experiment, runs: dict[str, Run], machine: Machine, name: str = weights.WEIGHTS) -> Source:
    """The generator with the weights in file `name` of `runs["generator"]`; its latents and data are in `runs` too."""
    classes = len(runs["data"].result()["facts"]["classes"])
    network = weights.load_generator(experiment, classes, runs["generator"], name).to(machine.device)
    return Source(experiment, network, load_statistics(runs["latents"]), classes, machine)


def how(experiment: Experiment, w: float) -> str:
    """What it takes to draw the same latents again, for protocols."""
    sampling, guidance = experiment.sampling, experiment.guidance
    guided_by = f"guidance {w:g} for t in [{guidance.low:g}, {guidance.high:g}]" if w != 1 else "no guidance"
    return f"{sampling.sampler}, {sampling.steps} steps, {guided_by}, classes in equal shares"
