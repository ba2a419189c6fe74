"""A data set: stripes in two directions, drawn. `--data stripes`"""

from harness.experiments.experiment import Data

revision = 1  # raise it when the images change
about = "horizontal and vertical stripes"
attribution = "drawn by a program, no licence needed"
fixed = True  # its name alone decides its content


def recipe(data: Data) -> dict:
    return {"name": "stripes", "image_size": data.image_size, **data.limits}


def require(data: Data) -> None:
    """Nothing is needed."""


def build(data: Data, folder, quiet=False, check_stop=lambda: None) -> dict:
    import numpy as np

    side, coordinate = data.image_size, np.arange(data.image_size)
    for split, (name, n) in enumerate(data.limits.items()):
        draw = np.random.default_rng([split, side])
        labels = np.arange(n) % 2
        phase, period = draw.uniform(0, 6, n), draw.uniform(2, 8, n)
        wave = np.sin(coordinate / period[:, None] + phase[:, None])  # (n, side)
        grey = np.where(labels[:, None, None] == 1, wave[:, None, :], wave[:, :, None])
        colour = draw.uniform(40, 127, (n, 1, 1, 3))
        images = 128 + colour * np.broadcast_to(grey, (n, side, side))[..., None]
        np.save(folder / f"{name}_images.npy", images.astype(np.uint8))
        np.save(folder / f"{name}_labels.npy", labels.astype(np.int64))
        check_stop()
    return {"classes": ["horizontal", "vertical"]}
