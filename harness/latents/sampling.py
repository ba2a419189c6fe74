"""Drawing latents from a trained generator."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.experiments.experiment import Experiment, Generator, Guide, Sampling
from harness.latents.sample_plan import SAMPLES
from harness.latents.statistics import LatentStatistics, load_statistics
from harness.networks import weights
from harness.planning.stage import Outcome, Work
from harness.store.runs import Run
from harness.system.files import fingerprint, read_array, read_json, replacing, write_json
from harness.system.fitting import Batching
from harness.system.machine import Machine, on
from harness.system.randomness import Chosen, Draws
from models import generators
from models.flows.flow import LINEAR
from models.flows.guidance import guided
from models.flows.paths import Flow
from models.flows.samplers import SAMPLERS, Sde, times

BATCH = 256
DRAWING = Batching(BATCH, BATCH)
LABELS = {"balanced": "classes in equal shares", "random": "classes drawn at random"}  # in words
PART = 1024  # images in a file; a multiple of BATCH, so that the batches do not depend on it
Map = Callable[[Callable[[Sequence[int]], Tensor], Iterable[Sequence[int]]], Iterable[Tensor]]


class Noise:
    """N(0, I) of shape (B, *shape): the numbers of an image depend on seed, index and draw, not on batches or order."""

    def __init__(self, seed: int, indices: Sequence[int], shape: tuple[int, ...], device: str = "cpu"):
        places = on(torch.tensor(indices), device)  # sent once, for all draws
        self.draws = Draws(seed, "sampling", 0, device, Chosen(places))
        self.shape = len(indices), *shape

    def __call__(self) -> Tensor:
        """The next draw of every image."""
        drawn = self.draws.normal("noise", *self.shape)
        self.draws = dataclasses.replace(self.draws, step=self.draws.step + 1)
        return drawn


def shape(experiment: Experiment) -> tuple[int, int]:
    """The shape (L, Z) of the latents."""
    return experiment.latents.tokens, experiment.latents.channels


@dataclass(frozen=True)
class Source:
    """A trained generator on `machine`, with the statistics of the latents that it was trained on."""

    experiment: Experiment
    network: nn.Module
    statistics: LatentStatistics
    classes: int
    machine: Machine
    worse: nn.Module | None = None

    def draw(self, indices: Sequence[int], guide: Guide, over: Map = map) -> Tensor:
        """Latents z (n, L, Z) on the CPU: the class and the noise of an image depend on its index.

        Sampler, steps, labels and seed are the experiment's; `over` maps a function over the batches.
        """
        batches = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
        return self.statistics.denormalise(torch.cat(list(over(lambda batch: self._batch(batch, guide), batches))))

    def _batch(self, indices: Sequence[int], guide: Guide) -> Tensor:
        return torch.cat(DRAWING.map(lambda part: self._drawn(part, guide), indices))

    @torch.no_grad()
    def _drawn(self, indices: Sequence[int], guide: Guide) -> Tensor:
        sampling = self.experiment.sampling
        y = self.machine.put(self.labels(indices))
        noise = Noise(self.experiment.seed_of_samples, indices, shape(self.experiment), self.machine.device)
        if not generators.is_flow(self.experiment.generator.name):
            with self.machine.autocast():
                drawn: Tensor = self.network.draw(y, noise.draws, guide.scale, sampling.steps)  # type: ignore[operator]
            return drawn.float().cpu()
        flow = flow_of(self.experiment.generator)
        velocity = guided(self.network, y, self.classes, guide.scale, (guide.low, guide.high), flow, self.worse)
        sde = Sde(flow, sampling.diffusion or "sigma", sampling.law["last_step"] is not None)
        with self.machine.autocast():
            return SAMPLERS[sampling.sampler](velocity, noise(), times_of(sampling, flow), noise, sde).cpu()

    def labels(self, indices: Sequence[int]) -> Tensor:
        """The classes (n,) of images."""
        return labels(self.experiment.sampling, self.experiment.seed_of_samples, indices, self.classes)


def labels(sampling: Sampling, seed: int, indices: Sequence[int], classes: int) -> Tensor:
    """The classes (n,) of images: i mod C, or drawn from (seed, i)."""
    if sampling.labels == "balanced":
        return torch.tensor(indices) % classes
    drawn = Draws(seed, "sampling", 0, part=Chosen(indices)).uniform("label", len(indices))
    return (drawn.double() * classes).long()


def load(experiment: Experiment, runs: dict[str, Run], machine: Machine, name: str = weights.WEIGHTS) -> Source:
    """The generator with the weights in file `name` of `runs["generator"]`; `runs` also holds its latents and data."""
    classes = len(runs["data"].fact("classes"))
    network = weights.load_generator(experiment, classes, runs["generator"], name).to(machine.device)
    statistics, worse = load_statistics(runs["latents"]), None
    if experiment.guidance.on and experiment.guidance.earlier is not None and name == weights.WEIGHTS:
        file = weights.earlier_file(experiment.generator.training.steps, experiment.guidance.earlier)
        worse = weights.load_generator(experiment, classes, runs["generator"], file).to(machine.device)
    return Source(experiment, network, statistics, classes, machine, worse)


def flow_of(generator: Generator) -> Flow:
    """The path of a generator, and what its network predicts."""
    return Flow(generator.path or "linear", generator.target or "velocity")


def times_of(sampling: Sampling, flow: Flow = LINEAR) -> list[float]:
    """The times at which the steps of a sampler begin and end."""
    low, high = flow.ends(training=False)
    equal = times(sampling.steps, sampling.time_shift or 1.0, sampling.law["last_step"])
    return equal if (low, high) == (0.0, 1.0) else [low + t * (high - low) for t in equal]


def how(experiment: Experiment, guide: Guide) -> str:
    """The settings that draw the same latents again, in words for protocols."""
    law = _flow_in_words if generators.is_flow(experiment.generator.name) else _own_law_in_words
    return f"{law(experiment, guide)}, {LABELS[experiment.sampling.labels]}"


def _own_law_in_words(experiment: Experiment, guide: Guide) -> str:
    name = experiment.generator.name
    steps = "" if name == "ar" else f", {experiment.sampling.steps} steps"
    return f"generator {name}{steps}, {f'guidance {guide.scale:g}' if guide.scale != 1 else 'no guidance'}"


def sampler_in_words(sampling: Sampling) -> str:
    """The sampler of a flow, in words for protocols."""
    text, law = f"{sampling.sampler}, {sampling.steps} steps", sampling.law
    if sampling.time_shift is not None:
        text += f" of time shift {sampling.time_shift:g}"
    if law["diffusion"] is not None:
        text += f", diffusion {law['diffusion'].replace('_', ' ')}"
    if law["last_step"] is not None:
        text += f", a last step of {law['last_step']:g} along the drift"
    return text


def _flow_in_words(experiment: Experiment, guide: Guide) -> str:
    text, generator = sampler_in_words(experiment.sampling), experiment.generator
    if generator.path is not None or generator.target is not None:
        text += f", {generator.path or 'linear'} path, network of the {generator.target or 'velocity'}"
    if guide.scale == 1:
        return f"{text}, no guidance"
    if (earlier := experiment.guidance.earlier) is None:
        return f"{text}, guidance {guide}"
    return f"{text}, autoguidance {guide} by the weights after {earlier:g} of the training"


def draw(work: Work, guide: Guide) -> Outcome:
    """Writes samples.npy, float32 (n, L, Z).

    Every image depends on its index alone, so the parts that were finished before a stop are kept. A part that does
    not match its checksum is drawn again.
    """
    source, images = load(work.experiment, work.inputs, work.machine), work.experiment.sampling.images
    folder = work.run.folder / "parts"
    folder.mkdir(exist_ok=True)
    paths = {start: folder / f"{start}.npy" for start in range(0, images, PART)}
    finished = work.processes.from_first([start for start, path in paths.items() if _whole(path)])
    with work.progress(images, "image") as bar:
        for start, path in paths.items():
            indices = range(start, min(start + PART, images))
            if start not in finished:
                z = source.draw(indices, guide, work.map)
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, z.numpy())
                write_json(path.with_suffix(".json"), fingerprint(path))
            bar.update(len(indices))
    if work.processes.first:  # the others do not have the parts of earlier attempts
        np.save(work.run.folder / SAMPLES, np.concatenate([read_array(path) for path in paths.values()]))
        shutil.rmtree(folder)
    return Outcome(facts={"how": how(work.experiment, guide)})


def _whole(path: Path) -> bool:
    """Whether a part of an earlier attempt is as it was written; a damaged one is reported."""
    if not path.exists():
        return False
    try:
        whole = bool(read_json(path.with_suffix(".json")) == fingerprint(path)) and read_array(path).ndim == 3
    except (OSError, ValueError):
        whole = False
    if not whole:
        print(f"{path} is damaged: its images are drawn again", file=sys.stderr)
    return whole
