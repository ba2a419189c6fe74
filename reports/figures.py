"""Figures of a page: PNG, colour-blind safe (Okabe & Ito), with units, one colour per row of the study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.image_files import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLOURS = ("#000000", "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73", "#999933")
DASHES = ("-", "--", ":", "-", "--", "-.", "-", ":")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")


def figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches with a grid of axes, drawn without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing, drawing.subplots(**grid)


def label(name: str) -> str:
    """A name from a data set as text that the font has: escapes for what cannot be printed or drawn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else f"U+{ord(c):04X} " for c in shown(name)).strip()
    return f" {drawn}" if drawn.startswith("_") else drawn  # a legend leaves out names that begin with an underscore


def save(drawing: Figure, path: Path) -> None:
    """Writes the figure at 90 dots per inch; a dollar sign in a text is a dollar sign."""
    from matplotlib.text import Text

    for text in drawing.findobj(Text):
        text.set_parse_math(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=90)


def strips(lines: dict[str, np.ndarray], path: Path, titles: dict[int, str] | None = None) -> bool:
    """Draws lines of images (n, H, W, 3), names at the left, `titles` above columns; False if there are none."""
    if not lines:
        return False
    count, size = max(map(len, lines.values())), 0.78
    drawing, axes = figure(1.9 + size * count, 0.25 + size * len(lines), nrows=len(lines), ncols=count, squeeze=False)
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image, interpolation="nearest")
        for axis in line:
            axis.axis("off")
        line[0].text(-0.12, 0.5, label(name), transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    for column, title in (titles or {}).items():
        axes[0, column].set_title(title, fontsize=9, loc="left")
    save(drawing, path)
    return True
