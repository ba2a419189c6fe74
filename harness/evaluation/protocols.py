"""Protocols of evaluation, by name: what it takes for numbers of two papers to be comparable.

The names of metrics are a protocol's own: FID, sFID and IS are on Inception features, by ADM's protocol, or not called
so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.system.errors import unknown

IMAGENET_TRAIN = 1_281_167  # images
SMALL = 10_000  # images below which the kernel distance leads, and the Fréchet distance is extrapolated


@dataclass(frozen=True)
class Protocol:
    """Which network looks at which images, how many of them, and what is measured.

    `titles` are the metrics (as `harness.evaluation.scoring` names them) by what the literature calls them here.
    `images` is how many a number of this name rests on; None where any will do. `side` is theirs in pixels, None for
    any. `reference` says what they are compared with, `reference_images` how many that are, None where any will do.
    `paired`: they are reconstructions of the reference, one by one. `px` is the side that they are resized to, where
    the network does not fix it.
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
    crop: Literal["center"] = field(default="center")  # of the reference, where it is a folder


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
        about="what works everywhere: EfficientNet-Lite2, whose weights are installed; any number of images",
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
    """The protocol called `name`; raises `Mistake`."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def met(network: str, paired: bool, side: int, crop: str, images: int, reference_images: int) -> str | None:
    """The name of the protocol that a number meets, by what it was measured on; None where it meets none.

    `side` is that of the images themselves in pixels, `crop` how they were cut. Protocols that do not say how many
    images the reference has cannot be told so, and are not found.
    """
    facts = network, paired, side, crop, images, reference_images
    for name, p in PROTOCOLS.items():
        if p.reference_images and facts == (p.network, p.paired, p.side, p.crop, p.images, p.reference_images):
            return name
    return None
