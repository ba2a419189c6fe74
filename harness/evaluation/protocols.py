"""Protocols of evaluation, by name: what has to agree so that numbers of two papers are comparable.

Every protocol has its own names for the metrics. Only numbers on Inception features by the protocol of ADM are called
FID, sFID and IS, and only if the network has its published weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.system.errors import unknown

ALONE = {  # names of metrics that say nothing of their network
    "fd": "FD",
    "sfd": "sFD",
    "score": "classifier score",
    "precision": "precision",
    "recall": "recall",
    "kd": "KD",
    "lpips": "LPIPS",
}
IMAGENET_TRAIN = 1_281_167  # images
IMAGENET_VAL = re.compile(r"(.*/)?ILSVRC2012_val_[0-9]{8}(\.\w+)?")  # names of files
SMALL = 10_000  # with fewer images the kernel distance leads, and the Fréchet distance is extrapolated


@dataclass(frozen=True)
class Protocol:
    """The network, the images and their number, the reference and the metrics.

    `titles` maps metrics, as `harness.evaluation.scoring` names them, to their names in the literature. `images` is
    the number of images that these names stand for; None for any. `side` is the side of the images in pixels; None for
    any. `reference` describes the reference; `reference_images` is its number of images, None for any. `paired`: the
    images are reconstructions of the reference, one by one. `px` is the side to which images are resized, if the
    network does not fix it.
    """

    about: str
    network: str
    titles: dict[str, str]
    reference: str
    images: int | None = None
    reference_images: int | None = None
    side: int | None = None
    paired: bool = False
    px: int | None = None
    kid_subset_images: int = 1000
    crop: Literal["center"] = field(default="center")  # of the reference, if it is a folder


ADM = {"fd": "FID", "sfd": "sFID", "score": "IS", "precision": "precision", "recall": "recall", "kd": "KID"}


def _adm(side: int) -> Protocol:
    return Protocol(
        about=f"gFID, sFID, IS, precision and recall of ADM at {side} px",
        network="inception",
        titles=ADM,
        reference=f"ADM's npz of ImageNet at {side} px: statistics of the train set, 10,000 images for precision and "
        "recall",
        images=50_000,
        reference_images=IMAGENET_TRAIN,
        side=side,
    )


PROTOCOLS = {
    "adm256": _adm(256),
    "adm512": _adm(512),
    "rfid-val50k": Protocol(
        about="reconstructions of ImageNet's validation set at 256 px against their own centre crops",
        network="inception",
        titles={"fd": "rFID", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "kd": "rKID"},
        reference="the 50,000 originals, of the same names, in a folder",
        images=50_000,
        reference_images=50_000,
        side=256,
        paired=True,
    ),
    "fd-dinov2": Protocol(
        about="Fréchet distance on DINOv2 ViT-L/14 (Stein et al. 2023)",
        network="dinov2",
        titles={
            "fd": "FD (DINOv2)",
            "kd": "KD (DINOv2)",
            "precision": "precision (DINOv2)",
            "recall": "recall (DINOv2)",
        },
        reference="the images of the train set",
        images=50_000,
    ),
    "lite": Protocol(
        about="works everywhere: EfficientNet-Lite2, whose weights come with a package; any number of images",
        network="lite2",
        titles={
            "fd": "FD (Lite2)",
            "kd": "KD (Lite2)",
            "score": "Lite2 score",
            "precision": "precision (Lite2)",
            "recall": "recall (Lite2)",
        },
        reference="any images of the same size",
        px=64,
        kid_subset_images=100,
    ),
}


def protocol_called(name: str) -> Protocol:
    """The protocol called `name`; raises `Mistake` for an unknown name."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def met(network: str, paired: bool, side: int, crop: str, images: int, reference_images: int) -> str | None:
    """The name of the protocol that a measurement meets; None if it meets none.

    `side` is the side of the images in pixels before resizing; `crop` is how they were cropped. Protocols that leave
    the number of reference images open are never returned.
    """
    facts = network, paired, side, crop, images, reference_images
    for name, p in PROTOCOLS.items():
        if p.reference_images and facts == (p.network, p.paired, p.side, p.crop, p.images, p.reference_images):
            return name
    return None


OTHER_WEIGHTS = "-other-weights-"


def other_weights(digits: str) -> str:
    """The end of a protocol's name if the network has other weights than the published ones."""
    return OTHER_WEIGHTS + digits if digits else ""


def network_in(name: str) -> tuple[str, str]:
    """The network in the name of a protocol that is called by it, and the digits of its weights if they are others."""
    network, _, digits = name.partition(OTHER_WEIGHTS)
    return network, digits


def are_of_imagenet_val(names: Sequence[str]) -> bool:
    """Whether files have the names of ImageNet's validation set; False without names."""
    return bool(names) and all(IMAGENET_VAL.fullmatch(name) for name in names)
