"""Stripes in four directions, drawn: the direction is the class."""

from harness.experiments.experiment import Data
from harness.system.files import create

revision = 1  # raised whenever the arrays would change
fixed = True  # the name alone decides the content
about = "stripes in four directions, drawn"
attribution = "Drawn by this project's example: no rights reserved."

CLASSES = ("horizontal", "vertical", "rising", "falling")
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def recipe(data: Data) -> dict:
    """What decides the content; it is hashed into the key of the data."""
    sizes = {"image_size": data.image_size, "train_images": data.train_images, "val_images": data.val_images}
    return {"name": "stripes", "classes": CLASSES, **sizes}


def require(data: Data) -> None:
    """Nothing has to be there."""


def build(data: Data, folder, quiet=False, check_stop=lambda: None) -> dict:
    import numpy as np

    side = data.image_size
    y, x = np.mgrid[:side, :side] / side
    for number, (split, n) in enumerate((("train", data.train_images), ("val", data.val_images))):
        images = create(folder / f"{split}_images.npy", np.uint8, (n, side, side, 3))
        labels = create(folder / f"{split}_labels.npy", np.int64, (n,))
        for i in range(n):
            draw = np.random.default_rng([number, i])  # image i is a function of (split, i)
            labels[i] = i % len(CLASSES)
            right, down = DIRECTIONS[labels[i]]
            wave = np.sin(2 * np.pi * (draw.uniform(1, 4) * (right * x + down * y) + draw.uniform()))
            images[i] = (127.5 * (1 + wave[..., None] * draw.uniform(0.2, 1, 3))).astype(np.uint8)
            check_stop()  # raises if the command is to end
    return {"classes": list(CLASSES)}
