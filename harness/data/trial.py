"""Opens images of a data set before it is built, so that a plan promises no run that is refused at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.data.class_folders import require_readable
from harness.data.image_files import shown
from harness.experiments.experiment import Data
from harness.system import plugins
from harness.system.machine import cores

SECONDS = 3.0  # of a plan, which answers at once
CHUNK_IMAGES = 16


@dataclass(frozen=True)
class Trial:
    """The images of every split that are not known to be unreadable, how many were opened, and of how many."""

    images: dict[str, int]
    opened: int
    total: int | None

    def about(self, data: Data) -> str:
        """What a plan says of it; "" if all were opened."""
        if self.opened == self.total:
            return ""
        name = shown(f"{data.name}:{data.argument}" if data.argument else data.name)
        number = "none of the" if self.total is None else f"the {self.opened:,} smallest of the {self.total:,}"
        return f"In {SECONDS:.0f} s {number} images of {name} were opened; the run opens all."


class TimeUp(Exception):
    """The list of images takes too long."""


def opened(data: Data) -> Trial | None:
    """Opens images for `SECONDS`, the smallest first, as the stage `data` will.

    None for a data set that does not say which files it takes, such as one that is drawn. Raises what that stage would
    raise for the images.
    """
    module = plugins.load("harness.data.sets", data.name, "data set")
    if not hasattr(module, "chosen"):
        return None
    from harness.data import indexed

    end = time.monotonic() + SECONDS

    def check_stop() -> None:
        if time.monotonic() > end:
            raise TimeUp

    try:
        chosen = module.chosen(data, check_stop)
    except TimeUp:
        return Trial(data.limits, 0, None)
    images = [image for split in chosen.images.values() for image in split]
    images.sort(key=lambda image: image.length)  # what is empty, cut off or no image is small
    tried, unreadable = 0, dict[str, str]()
    with ThreadPoolExecutor(cores()) as pool:
        while tried < len(images) and (not tried or time.monotonic() < end):
            chunk = images[tried : tried + CHUNK_IMAGES]
            contents = pool.map(lambda image: indexed.opened(data, chosen.root, image), chunk)
            named = zip(chunk, contents, strict=True)
            unreadable |= {image.name: content for image, content in named if isinstance(content, str)}
            tried += len(chunk)
    total = len(images)
    require_readable(data, data.argument or str(chosen.root), chosen, unreadable, total if tried == total else None)
    readable = {split: sum(image.name not in unreadable for image in of) for split, of in chosen.images.items()}
    return Trial(readable, tried, total)
