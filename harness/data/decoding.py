"""Decodes image files to pixels: upright, RGB, 8 bits per channel, cropped by a named rule."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def center(image: Image.Image, side: int) -> Image.Image:
    """The centre square (side, side), as in the ADM protocol (Dhariwal and Nichol 2021).

    The image is halved by averaging while its shorter side is at least 2 x side. Antialiased cubic interpolation then
    resizes its shorter side to `side`.
    """
    from PIL import Image

    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(kernel: str, image: Image.Image, side: int) -> Image.Image:
    """The centre square (side, side) after one antialiased resize of the shorter side, rounded as in torchvision.

    This is torchvision's `Resize(side)` and `CenterCrop(side)`: the longer side is rounded down. A crop corner halfway
    between two pixels is rounded to the even one.
    """
    from PIL import Image

    shorter = min(image.size)
    width, height = (side * length // shorter for length in image.size)
    image = image.resize((width, height), Image.Resampling[kernel])
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def squash(image: Image.Image, side: int) -> Image.Image:
    """The whole image, resized to (side, side) by antialiased cubic interpolation; the proportions change."""
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BICUBIC)


CROPS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "center": center,  # the ADM protocol: halved by averaging, then cubic; centre square
    "resize_bicubic": functools.partial(resized, "BICUBIC"),  # shorter side in one step, cubic; centre square
    "resize_bilinear": functools.partial(resized, "BILINEAR"),  # the same with a linear kernel
    "resize_lanczos": functools.partial(resized, "LANCZOS"),  # the same with a Lanczos kernel
    "squash": squash,  # the whole image, proportions ignored
}


def decode(
    file: BinaryIO | Path, side: int | None = None, crop: str = "center", background: str = "white"
) -> np.ndarray:
    """The image, upright, RGB, uint8 (H, W, 3), resized and cropped to `side` if given.

    Transparent pixels show `background`. Of several frames the first is taken. Decoders raise almost any exception for
    damaged content.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        wide = opened.format == "PPM" and opened.mode == "I"  # which Pillow scales to 16 bits
        image = ImageOps.exif_transpose(opened)
        image = _rgb(image.convert("I;16") if wide else image, background)
    return np.asarray(image if side is None else CROPS[crop](image, side))


def read(file: BinaryIO | Path, side: int | None, crop: str = "center", background: str = "white") -> np.ndarray | str:
    """The result of `decode`, or the reason why the file does not open."""
    try:
        return decode(file, side, crop, background)
    except MemoryError:  # not the fault of the image
        raise
    except Exception as error:
        return reason(error)


def reason(error: Exception) -> str:
    """Why an image does not open, in a few words, from what a decoder raised."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not the content of an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, UndefinedWhite) else "damaged or cut off"


class UndefinedWhite(ValueError):
    """The mode of an image defines no value for white."""


def _rgb(image: Image.Image, background: str) -> Image.Image:
    """The image in RGB, 8 bits per channel, on `background`. Raises `UndefinedWhite`."""
    import numpy as np
    from PIL import Image

    if image.mode in ("I", "F"):
        raise UndefinedWhite(f"mode {image.mode} defines no white")
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits, not scale them
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")
