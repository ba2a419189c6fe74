"""Pretrained frozen networks by role, from installed packages or files of weights: no download.

Three roles use three networks, so that no network is judged by itself. From packages, EfficientNet-Lite0 is the
teacher, Lite1 the perceptual distance, Lite2 the measure. They are siblings (one architecture, one training set), as
every report says. At the paper's scale, DINOv2 is the teacher and initialises encoders, LPIPS is the perceptual
distance, Inception the measure, and the discriminator uses DINO.
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
from models.config.terms import PATCHGAN_PX

if TYPE_CHECKING:
    from torch import nn

    from models.autoencoders.tokenizer import Tokenizer as TokenizerNetwork
    from models.objectives.discriminator import Readouts


# Size of an encoder: the DINOv2 that can initialise it.
ENCODERS = {SIZES["S"]: "dinov2_vits14", SIZES["B"]: "dinov2_vitb14", SIZES["L"]: "dinov2_vitl14"}


@dataclass(frozen=True)
class Roles:
    """The frozen networks of an experiment, by role.

    Loading a network raises `Mistake` for weights that are missing or do not fit, and `Trouble` for a package that is
    not installed.
    """

    experiment: Experiment

    @property
    def tokenizer(self) -> Tokenizer:
        """The configuration that decides which networks are needed."""
        return self.experiment.tokenizer

    def teacher(self) -> Teacher:
        """The teacher, not loaded. Raises `Mistake` for an unknown name."""
        return teacher(self.experiment.teacher)

    def perceptual(self, machine: Machine) -> nn.Module | None:
        """The perceptual distance of x and its reconstruction in [-1, 1], or None if the objective has none."""
        from harness.networks import lpips
        from models.frozen.efficientnet import PerceptualDistance
        from models.frozen.lpips import Lpips

        perceptual = self.tokenizer.perceptual
        if not perceptual.on:
            return None
        if perceptual.lpips:
            return Lpips(lpips.network(lpips.weights_file()), perceptual.batch_share).to(machine.device)
        return PerceptualDistance(efficientnet_lite(PERCEPTUAL, machine), perceptual.batch_share)

    def discriminator_features(self, machine: Machine) -> Readouts:
        """The frozen features that the discriminator reads, or the pixels."""
        from models.objectives.discriminator import DinoReadouts, LiteReadouts
        from models.objectives.patchgan import Pixels

        if self.tokenizer.adversarial.features == "patchgan":
            return Pixels()
        if self.tokenizer.adversarial.features == "efficientnet_lite0":
            return LiteReadouts(efficientnet_lite(TEACHER, machine))
        return DinoReadouts(vit(VITS["dino_vits16"], 224, DINO, DINO.find()).to(machine.device))

    def initialise_encoder(self, network: TokenizerNetwork) -> None:
        """Initialises the encoder of `network` from the DINOv2 of its size, if the configuration says so."""
        from models.autoencoders.vit_1d import ViT1D
        from models.frozen import dinov2

        if self.tokenizer.dinov2_encoder:
            assert isinstance(network, ViT1D), "the configuration allows no other"
            name = self._encoder()
            net = vit(VITS[name], dinov2.PATCH * network.side, DINOV2[name], DINOV2[name].find())
            dinov2.initialise_encoder(network, net.state_dict())

    def _encoder(self) -> str:
        """The name of the DINOv2 of the encoder's size. Raises `Mistake` if there is none."""
        encoder = self.tokenizer.encoder
        if encoder not in ENCODERS:
            sizes = ", ".join(f"{size.width}/{size.depth}/{size.heads}" for size in ENCODERS)
            raise Mistake(
                "tokenizer.dinov2_encoder: no DINOv2 has width/depth/heads "
                f"{encoder.width}/{encoder.depth}/{encoder.heads}; choose {sizes}"
            )
        return ENCODERS[encoder]

    def files(self) -> dict[str, Callable[[], Path]]:
        """Functions that find the files of weights that training reads, by role; the teacher's file is not included.

        Raises `Mistake` if no DINOv2 has the size of the encoder.
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
        """The checksums of these files, for the record of a run."""
        return {f"{role}_weights": short_checksum(find()) for role, find in self.files().items()}

    def require(self) -> None:
        """Raises for the first missing weights; it opens no file.

        Also raises `Mistake` if no DINOv2 has the size of the encoder.
        """
        self._require_pixels()
        measure = plugins.load("harness.networks.measures", self.experiment.evaluation.network, "measure")
        for find in (self.teacher().weights, *self.files().values(), measure.weights_file):
            find()

    def _require_pixels(self) -> None:
        """Raises `Mistake` if the images are too small for the discriminator."""
        adversarial, side = self.tokenizer.adversarial, self.experiment.data.image_size
        if adversarial.on and adversarial.features == "patchgan" and side < PATCHGAN_PX:
            raise Mistake(f"tokenizer.adversarial.features: patchgan needs images of {PATCHGAN_PX} px, not of {side}")


def require_weights(tasks: Iterable[Task]) -> None:
    """Raises if weights that `tasks` may read are not on this machine."""
    for experiment in dict.fromkeys(task.experiment for task in tasks):
        Roles(experiment).require()
