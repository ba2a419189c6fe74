"""Decodes generated latents and prepares their images for the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from harness.evaluation import fidelity, reference
from harness.evaluation.generated import Generated, LatentSets
from harness.latents import autoencode
from harness.latents.sample_plan import SAMPLES
from harness.latents.sampling import Noise, shape
from harness.latents.shards import Latents
from harness.latents.statistics import load_statistics
from harness.networks import weights
from harness.networks.frozen import Outputs
from harness.planning.stage import Work, decoder
from harness.system.randomness import Draws
from models.autoencoders.linear import LinearTokenizer

CHUNK = 1024  # images in memory at once


class DecodedLatents:
    """A decoder and the features of the training images, both from the inputs of a stage.

    `tokenizer` replaces the tokenizer of the stage's experiment. Without `logits` the network may skip their work.
    """

    def __init__(self, work: Work, tokenizer: LinearTokenizer | None = None, logits: bool = True):
        self.work, self.experiment, self.machine = work, work.experiment, work.machine
        own = tokenizer or weights.load_tokenizer(work.experiment, work.inputs[decoder(work.experiment)])
        self.tokenizer = own.to(work.machine.device)
        self.network = fidelity.network(work.experiment.evaluation, work.machine, logits)
        self.reference = reference.load(work.inputs["reference"])

    def images(self, z: Tensor) -> Tensor:
        """The uint8 images (n, 3, H, W) of latents z (n, L, Z)."""
        return autoencode.decode(self.tokenizer, z, self.machine)

    def generated(self, z: Tensor, split: str, how: str, step: int, latents: LatentSets | None = None) -> Generated:
        """The images of latents z (n, L, Z), as a set for the metrics; decodes and extracts features part by part."""

        def outputs(chunk: Tensor) -> Outputs:
            return fidelity.outputs(autoencode.decode_there(self.tokenizer, chunk, self.machine), self.network)

        parts = self.work.map(outputs, z.split(CHUNK))
        return Generated(fidelity.concatenated(list(parts)), self.reference, self.experiment, split, how, step, latents)


class OfSet(NamedTuple):
    """What `DecodedLatents.generated` takes beside the latents of a set; `latents` are those to compare."""

    split: str
    how: str
    step: int
    latents: LatentSets


def latent_sets(work: Work) -> Iterator[tuple[Tensor, OfSet]]:
    """The sets of latents z (n, L, Z) of a row with a generator: from N(0, I), encoded, and drawn.

    The work has the inputs `data` and `latents`, and `samples` and `guided_samples` as far as they are drawn.
    """
    experiment = work.experiment
    noise = Noise(experiment.seed_of_samples, range(experiment.sampling.images), shape(experiment))()
    statistics, encoded = load_statistics(work.inputs["latents"]), _encoded(work)
    sets = {
        "prior": (statistics.denormalise(noise), "latents N(0, I), denormalised: from no generator"),
        "reconstructions": (
            statistics.denormalise(encoded),
            "decoded from one sample of the posterior of each of the first training images, not mirrored",
        ),
    }
    for split, stage in {"samples": "samples", "guided": "guided_samples"}.items():
        if stage in work.inputs:
            z = torch.from_numpy(work.inputs[stage].array(SAMPLES))
            sets[split] = (z, work.inputs[stage].fact("how"))
    for split, (z, how) in sets.items():
        compared = LatentSets(statistics.normalise(z), encoded)
        yield z, OfSet(split, how, experiment.generator.training.steps, compared)


def _encoded(work: Work) -> Tensor:
    """Samples of the posteriors of the first training images, normalised, as many as there are generated images."""
    labels = work.inputs["data"].array("train_labels.npy")
    latents = Latents(work.inputs["latents"], "train", labels, "cpu")
    indices = torch.arange(min(work.experiment.sampling.images, len(latents)))
    noise = Draws(work.experiment.seed_of_samples, "reconstructions", 0).normal(
        "latents", len(indices), *latents.shape[2:]
    )
    return latents.at(indices, torch.zeros_like(indices), noise)[0]
