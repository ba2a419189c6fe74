"""Samples of a released generator, as they were drawn when its numbers were published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.hub.generator import PretrainedGenerator
from harness.hub.systems import GeneratorSystem
from harness.hub.tokenizer import PretrainedTokenizer
from harness.latents import autoencode, sampling
from harness.latents.statistics import LatentStatistics
from harness.system.errors import Mistake
from harness.system.machine import Machine
from models.flows.guidance import guided
from models.flows.samplers import SAMPLERS, Sde

SEED = 0


def how(system: GeneratorSystem) -> str:
    """How the samples are drawn, in words for protocols."""
    guidance = f"guidance {system.guide} on the first {system.guided_channels} channels"
    labels = sampling.LABELS[system.sampling.labels]
    return f"{sampling.sampler_in_words(system.sampling)}, {guidance}, {labels}, seed {SEED}"


class Drawing:
    """Draws images with a generator on the latents of a tokenizer. Raises `Mistake` if they do not go together."""

    def __init__(
        self,
        system: GeneratorSystem,
        generator: PretrainedGenerator,
        tokenizer: PretrainedTokenizer,
        statistics: LatentStatistics,
        machine: Machine,
    ):
        drawn, decoded = generator.config.latents, tokenizer.config.latents
        if drawn != decoded:
            raise Mistake(f"the generator makes latents of {drawn}, and the tokenizer has {decoded}")
        self.system, self.statistics, self.machine = system, statistics, machine
        self.generator, self.tokenizer = generator.to(machine.device), tokenizer.tokenizer.to(machine.device)

    def images(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Images, uint8 (H, W, 3). Class and noise of an image depend on its index alone."""
        for start in range(0, len(indices), autoencode.BATCH):
            z = self.statistics.denormalise(self._latents(indices[start : start + autoencode.BATCH]))
            yield from autoencode.decode(self.tokenizer, z, self.machine).permute(0, 2, 3, 1).numpy()

    @torch.no_grad()
    def _latents(self, indices: Sequence[int]) -> Tensor:
        settings, guide, config = self.system.sampling, self.system.guide, self.generator.config
        y = self.machine.put(sampling.labels(settings, SEED, indices, config.classes))
        noise = sampling.Noise(SEED, indices, (config.tokens, config.channels), self.machine.device)
        interval, channels = (guide.low, guide.high), self.system.guided_channels
        velocity = guided(self.generator, y, config.classes, guide.scale, interval, channels=channels)
        sde = Sde(diffusion=settings.diffusion or "sigma", last_by_mean=settings.last_step is not None)
        with self.machine.autocast():
            return SAMPLERS[settings.sampler](velocity, noise(), sampling.times_of(settings), noise, sde).cpu()
