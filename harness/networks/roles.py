"""Pretrained frozen networks, from the installed packages or from files of weights: no download.

Three jobs, three networks, so that none is judged by itself. Of what packages bring, EfficientNet-Lite0 teaches, Lite1
gives the perceptual distance, Lite2 measures; they are siblings (one architecture, one training set), which every
report says. At the paper's scale DINOv2 teaches and starts encoders, LPIPS is the perceptual distance and Inception
measures; a discriminator reads DINO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.experiment import Experiment
from harness.networks.frozen import PERCEPTUAL, TEACHER, VITS, efficientnet_lite, vit
from harness.networks.teachers import Teacher, teacher
from harness.networks.weight_files import DINO, DINOV2, short_checksum
from harness.planning.task import Task
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.machine import Machine
from models.config import SIZES, Tokenizer

if TYPE_CHECKING:
    from torch import nn

    from models.discriminator import Readouts
    from models.tokenizer import Tokenizer as TokenizerNetwork


# By the size of an encoder, the DINOv2 that it may start from.
ENCODERS = {SIZES["S"]: "dinov2_vits14", SIZES["B"]: "dinov2_vitb14", SIZES["L"]: "dinov2_vitl14"}


@dataclass(frozen=True)
class Roles:
    """The frozen networks of an experiment, by what each does.

    Loading one raises `Mistake` for weights that are missing or do not fit, `Trouble` where they come with a package
    that is not installed.
    """

    experiment: Experiment

    @property
    def tokenizer(self) -> Tokenizer:
        """The configuration that says which networks are needed."""
        return self.experiment.tokenizer

    def teacher(self) -> Teacher:
        """The teacher, not loaded; raises `Mistake` for an unknown one."""
        return teacher(self.experiment.teacher)

    def perceptual(self, machine: Machine) -> nn.Module | None:
        """The perceptual distance of x and its reconstruction in [-1, 1], where the objective has one."""
        from harness.networks import lpips
        from models.efficientnet import PerceptualDistance
        from models.lpips import Lpips

        perceptual = self.tokenizer.perceptual
        if not perceptual.on:
            return None
        if perceptual.lpips:
            return Lpips(lpips.network(lpips.weights_file()), perceptual.batch_share).to(machine.device)
        return PerceptualDistance(efficientnet_lite(PERCEPTUAL, machine), perceptual.batch_share)

    def discriminator_features(self, machine: Machine) -> Readouts:
        """The network that a discriminator reads."""
        from models.discriminator import DinoReadouts, LiteReadouts

        if self.tokenizer.adversarial.features == "efficientnet_lite0":
            return LiteReadouts(efficientnet_lite(TEACHER, machine))
        return DinoReadouts(vit(VITS["dino_vits16"], 224, DINO, DINO.find()).to(machine.device))

    def initialise_encoder(self, network: TokenizerNetwork) -> None:
        """Starts the encoder of `network` from the DINOv2 of its size, where the configuration says so."""
        from models import dinov2

        if self.tokenizer.dinov2_encoder:
            name = self._encoder()
            net = vit(VITS[name], dinov2.PATCH * network.side, DINOV2[name], DINOV2[name].find())
            dinov2.initialise_encoder(network, net.state_dict())

    def _encoder(self) -> str:
        """The DINOv2 that has the size of the encoder; raises `Mistake` where none has."""
        ours = self.tokenizer.encoder
        if ours not in ENCODERS:
            sizes = ", ".join(f"{size.width}/{size.depth}/{size.heads}" for size in ENCODERS)
            raise Mistake(
                f"tokenizer.dinov2_encoder: no DINOv2 has width/depth/heads {ours.width}/{ours.depth}/{ours.heads}, "
                f"but {sizes} have"
            )
        return ENCODERS[ours]

    def files(self) -> dict[str, Callable[[], Path]]:
        """How to find each file of weights that the training reads, the teacher's apart, by what it is of.

        Raises `Mistake` for an encoder of a size that no DINOv2 has.
        """
        from harness.networks import lpips

        files: dict[str, Callable[[], Path]] = {}
        if self.tokenizer.dinov2_encoder:
            files["encoder"] = DINOV2[self._encoder()].find
        if self.tokenizer.perceptual.on and self.tokenizer.perceptual.lpips:
            files["perceptual"] = lpips.weights_file
        if self.tokenizer.adversarial.on and self.tokenizer.adversarial.features == "dino_vits16":
            files["discriminator"] = DINO.find
        return files

    def facts(self) -> dict[str, str]:
        """What a run records of these files: their checksums."""
        return {f"{of}_weights": short_checksum(find()) for of, find in self.files().items()}

    def require(self) -> None:
        """Raises for the first weights that are missing, before any is loaded; it looks into no file.

        It also refuses an encoder of a size that no DINOv2 has.
        """
        measure = plugins.load("harness.networks.measures", self.experiment.evaluation.network, "measure")
        for find in (self.teacher().weights, *self.files().values(), measure.weights_file):
            find()


def require_weights(waiting: Iterable[Task]) -> None:
    """Raises where weights that tasks may read are not on this machine."""
    for experiment in dict.fromkeys(t.experiment for t in waiting):
        Roles(experiment).require()
