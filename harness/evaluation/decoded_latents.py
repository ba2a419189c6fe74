"""Decodes generated latents and prepares their images for the metrics."""

from __future__ import annotations

from torch import Tensor

from harness.evaluation import fidelity, reference
from harness.evaluation.generated import Generated, LatentSets
from harness.latents import autoencode
from harness.networks import weights
from harness.planning.stage import Work, decoder
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
        parts = self.work.map(lambda chunk: fidelity.outputs(self.images(chunk), self.network), z.split(CHUNK))
        return Generated(fidelity.concatenated(list(parts)), self.reference, self.experiment, split, how, step, latents)
