"""Pretrained frozen networks, from the installed packages or from files of weights: no download.

Three jobs, three networks, so that none is judged by itself. Of what packages bring, EfficientNet-Lite0 teaches, Lite1
gives the perceptual distance, Lite2 measures; they are siblings (one architecture, one training set), which every
report says. At the paper's scale DINOv2 teaches and starts encoders, LPIPS is the perceptual distance and Inception
measures; a discriminator reads DINO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.experiment import Experiment
from harness.networks.frozen import PERCEPTUAL, TEACHER, VITS, efficientnet_lite, vit
from harness.networks.teachers import teacher
from harness.networks.weight_files import DINO, DINOV2, WeightsFile
from harness.planning.task import Task
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.machine import Machine
from models.config import SIZES, Tokenizer

if TYPE_CHECKING:
    from torch import nn

    from models.discriminator import Readouts
    from models.tokenizer import Tokenizer as TokenizerNetwork


def require_weights(waiting: Iterable[Task]) -> None:
    """Raises `Mistake` where weights that tasks may read are not on this machine."""
    from harness.networks import roles

    for experiment in dict.fromkeys(t.experiment for t in waiting):
        roles.require(experiment)


# Encoders that start from DINOv2

ENCODERS = {SIZES["S"]: "dinov2_vits14", SIZES["B"]: "dinov2_vitb14", SIZES["L"]: "dinov2_vitl14"}


def encoder_weights(tokenizer: Tokenizer) -> WeightsFile:
    """The weights of the DINOv2 that has the size of the encoder; raises `Mistake` where none has."""
    return DINOV2[_encoder(tokenizer)]


def _encoder(tokenizer: Tokenizer) -> str:
    if tokenizer.encoder not in ENCODERS:
        sizes = ", ".join(f"{size.width}/{size.depth}/{size.heads}" for size in ENCODERS)
        ours = tokenizer.encoder
        raise Mistake(
            f"tokenizer.dinov2_encoder: no DINOv2 has width/depth/heads {ours.width}/{ours.depth}/{ours.heads}, "
            f"but {sizes} have"
        )
    return ENCODERS[tokenizer.encoder]


def initialise_encoder(network: TokenizerNetwork, tokenizer: Tokenizer) -> None:
    """Starts the encoder of `network` from the DINOv2 of its size.

    Raises `Mistake` for a size that no DINOv2 has, and for weights that are missing or do not fit.
    """
    from models import dinov2

    name = _encoder(tokenizer)
    net = vit(VITS[name], dinov2.PATCH * network.side, DINOV2[name], DINOV2[name].find())
    dinov2.initialise_encoder(network, net.state_dict())


# Terms of the objective


def perceptual(tokenizer: Tokenizer, machine: Machine) -> nn.Module | None:
    """The perceptual distance of a tokenizer's objective, where it has one: of x and its reconstruction in [-1, 1].

    Raises `Mistake` for weights of LPIPS that are missing or do not fit.
    """
    from harness.networks import lpips
    from models.efficientnet import PerceptualDistance
    from models.lpips import Lpips

    if not tokenizer.perceptual.on:
        return None
    share = tokenizer.perceptual.batch_share
    if tokenizer.perceptual.lpips:
        return Lpips(lpips.network(lpips.weights_file()), share).to(machine.device)
    return PerceptualDistance(efficientnet_lite(PERCEPTUAL, machine), share)


def discriminator_features(name: str, machine: Machine) -> Readouts:
    """The frozen network that a discriminator reads, by its name in `models.config.Adversarial`.

    Raises `Mistake` for weights of DINO that are missing or do not fit.
    """
    from models.discriminator import DinoReadouts, LiteReadouts

    if name == "efficientnet_lite0":
        return LiteReadouts(efficientnet_lite(TEACHER, machine))
    return DinoReadouts(vit(VITS["dino_vits16"], 224, DINO, DINO.find()).to(machine.device))


# What an experiment needs


def files(tokenizer: Tokenizer) -> dict[str, Callable[[], Path]]:
    """The files of weights that its training takes beside the teacher's: what they are of, and how to find them.

    Raises `Mistake` for an encoder of a size that no DINOv2 has.
    """
    from harness.networks import lpips

    found: dict[str, Callable[[], Path]] = {}
    if tokenizer.dinov2_encoder:
        found["encoder"] = encoder_weights(tokenizer).find
    if tokenizer.perceptual.on and tokenizer.perceptual.lpips:
        found["perceptual"] = lpips.weights_file
    if tokenizer.adversarial.on and tokenizer.adversarial.features == "dino_vits16":
        found["discriminator"] = DINO.find
    return found


def require(experiment: Experiment) -> None:
    """Raises `Mistake` for the first weights of `experiment` that are missing, `Trouble` where they come by a package.

    It also refuses an encoder of a size that no DINOv2 has, and looks into no file.
    """
    measure = plugins.load("harness.networks.measures", experiment.evaluation.measure or "lite2", "measure")
    for find in (teacher(experiment.teacher).weights, *files(experiment.tokenizer).values(), measure.weights_file):
        find()
