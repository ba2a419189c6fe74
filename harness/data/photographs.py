"""Photographs that installed packages bring along: backgrounds of the embedded images, and food for benchmarks."""

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
    """All of them, in RGB; raises `Trouble` where one is not installed."""
    from PIL import Image

    opened = []
    for package, path in PHOTOGRAPHS:
        with Image.open(packaged(package, path)) as image:
            opened.append(image.convert("RGB"))
    return opened


def packaged(package: str, path: str) -> Path:
    """A file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Trouble(f"data set embedded: package {package} is not installed")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise Trouble(f"data set embedded: package {package} as installed here lacks {path}")
    return file
