"""Photographs inside installed packages: backgrounds of the embedded images, and inputs of benchmarks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from harness.system.errors import Trouble

if TYPE_CHECKING:
    from PIL import Image

PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/retina.jpg"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def photographs() -> list[Image.Image]:
    """All photographs, in RGB. Raises `Trouble` if one is not installed."""
    from PIL import Image

    opened = []
    for package, path in PHOTOGRAPHS:
        with Image.open(packaged(package, path)) as image:
            opened.append(image.convert("RGB"))
    return opened


def packaged(package: str, path: str) -> Path:
    """The path of a file inside an installed package, which is not imported. Raises `Trouble` if it is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Trouble(f"data set embedded: package {package} is not installed")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise Trouble(f"data set embedded: the installed package {package} lacks {path}")
    return file
