"""From bytes to pixels: colours, orientation, and every crop against another computation of it."""

from __future__ import annotations

import hashlib
import io
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from harness.data.decoding import CROPS, center, decode, read
from harness.experiments.experiment import Data
from tests.encoded import photograph

SIZES = [(300, 200), (200, 300), (257, 257), (301, 143), (64, 64), (50, 37), (33, 500), (67, 64)]
SIDE = 64


def pictured(size: tuple[int, int]) -> Image.Image:
    return photograph("astronaut.png").crop((90, 0, 90 + size[0], size[1]))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


def rounded(x: np.ndarray) -> np.ndarray:
    """As 8 bits hold it: Pillow resizes along one axis, and what it then has along the other."""
    return np.clip(np.floor(x + 0.5), 0, 255)


def halved(x: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of (H, W, 3)."""
    across = rounded((x[:, : x.shape[1] // 2 * 2 : 2] + x[:, 1::2]) / 2)
    return rounded((across[: len(x) // 2 * 2 : 2] + across[1::2]) / 2)


def cubic(x: np.ndarray, length: int) -> np.ndarray:
    """The first axis resampled to `length` with Keys' kernel, a = -1/2, stretched where the axis gets shorter."""
    scale = len(x) / length
    stretch = max(1.0, scale)
    centres = (np.arange(length) + 0.5) * scale
    t = np.abs((np.arange(len(x)) + 0.5 - centres[:, None]) / stretch)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    kernel = np.where(t < 1, near, np.where(t < 2, far, 0))
    return np.tensordot(kernel / kernel.sum(1, keepdims=True), x, 1)


def cubic_resized(x: np.ndarray, height: int, width: int) -> np.ndarray:
    across = rounded(cubic(x.swapaxes(0, 1), width).swapaxes(0, 1))
    return rounded(cubic(across, height))


def test_every_crop_can_be_asked_for() -> None:
    assert typing.get_args(typing.get_type_hints(Data)["crop"]) == tuple(CROPS)


@pytest.mark.parametrize("size", [*SIZES, (1, 40), (40, 1)])
@pytest.mark.parametrize("crop", CROPS)
def test_crops_are_square(crop: str, size: tuple[int, int]) -> None:
    assert CROPS[crop](pictured(size), SIDE).size == (SIDE, SIDE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", ["BICUBIC", "BILINEAR", "LANCZOS"])
def test_resized_crops_are_torchvisions(kernel: str, size: tuple[int, int]) -> None:
    mode = transforms.InterpolationMode[kernel]
    theirs = transforms.Compose([transforms.Resize(SIDE, mode), transforms.CenterCrop(SIDE)])
    found = CROPS[f"resize_{kernel.lower()}"](pictured(size), SIDE)
    np.testing.assert_array_equal(pixels(found), pixels(theirs(pictured(size))))


@pytest.mark.parametrize("times", [1, 2, 4])
def test_the_centre_crop_halves_before_it_resizes(times: int) -> None:
    image = pictured((SIDE * times + 12 * times, SIDE * times))
    expected = pixels(image)
    for _ in range(times.bit_length() - 1):
        expected = halved(expected)
    np.testing.assert_array_equal(pixels(center(image, SIDE)), expected[:, 6 : 6 + SIDE])


def test_the_centre_crop_ends_with_a_cubic_resize() -> None:
    expected = cubic_resized(halved(pixels(pictured((300, 200)))), SIDE, 96)[:, 16 : 16 + SIDE]
    np.testing.assert_allclose(pixels(center(pictured((300, 200)), SIDE)), expected, atol=1)


def test_the_centre_crop_keeps_its_bits() -> None:
    digest = hashlib.sha256()
    for size in SIZES:
        digest.update(np.asarray(center(pictured(size), SIDE)).tobytes())
    assert digest.hexdigest()[:16] == "af510fe5f18a7216"


def test_squash_keeps_all_of_the_image() -> None:
    image = pictured((300, 200))
    np.testing.assert_allclose(pixels(CROPS["squash"](image, SIDE)), cubic_resized(pixels(image), SIDE, SIDE), atol=1)


def encoded(image: Image.Image, form: str, **how: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_every_usual_mode_becomes_rgb(mode: str) -> None:
    grey = np.full((30, 30), 255, dtype=np.uint8)
    white = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert("RGB")
    found = decode(encoded(white if mode == "I;16" else white.convert(mode), "TIFF"), 8)
    assert found.shape == (8, 8, 3) and found.dtype == np.uint8 and (found >= 254).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused(mode: str) -> None:
    file = encoded(Image.fromarray(np.ones((8, 8), np.int32 if mode == "I" else np.float32)), "TIFF")
    with pytest.raises(ValueError, match=f"mode {mode}"):
        decode(file)
    assert read(file, 8) == f"mode {mode} defines no white"


def test_images_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is on the right
    turned = pictured((60, 40)).transpose(Image.Transpose.ROTATE_90)
    found = decode(encoded(turned, "PNG", exif=exif))
    np.testing.assert_array_equal(found, np.asarray(pictured((60, 40))))


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    pictured((60, 40)).save(tmp_path / "image.JPEG", "PNG")
    found = read(tmp_path / "image.JPEG", None)
    np.testing.assert_array_equal(found, np.asarray(pictured((60, 40))))


WHOLE = encoded(pictured((60, 40)), "JPEG").getvalue()
REASONS = {
    "empty": (b"", "not the content of an image"),
    "text": (b"text", "not the content of an image"),
    "cut": (WHOLE[: len(WHOLE) // 2], "damaged or cut off"),
    "huge": (b"P6 100000 100000 255\n" + bytes(30), "more than 178,956,970 pixels"),  # by its header
}


@pytest.mark.parametrize("case", REASONS)
def test_what_does_not_open_has_a_reason(case: str) -> None:
    content, expected = REASONS[case]
    assert read(io.BytesIO(content), 8) == expected


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    assert read(tmp_path / "absent.png", 8) == "No such file or directory"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("background", "value"), [("white", 255), ("gray", 128), ("black", 0)])
def test_transparent_pixels_show_the_background(mode: str, background: str, value: int) -> None:
    image = Image.new("RGBA", (8, 8), (200, 30, 90, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 8))
    found = decode(encoded(image.convert(mode), "PNG"), background=background)
    assert (found[:, 4:] == value).all()
    assert (found[:, :4] < 40).all()


def test_half_transparent_pixels_are_mixed() -> None:
    found = decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"))
    assert abs(found.astype(int) - 127).max() <= 1


def test_sixteen_bits_of_a_pgm_are_scaled() -> None:
    values = np.linspace(0, 65535, 64).astype(">u2")
    found = decode(io.BytesIO(b"P5 8 8 65535\n" + values.tobytes()))
    np.testing.assert_array_equal(found[..., 0].ravel(), np.rint(values / 257))


@pytest.mark.parametrize("crop", CROPS)
def test_read_crops_as_asked(crop: str) -> None:
    found = read(encoded(pictured((60, 40)), "PNG"), 16, crop)
    np.testing.assert_array_equal(found, np.asarray(CROPS[crop](pictured((60, 40)), 16)))
