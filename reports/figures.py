"""Figures of a page: PNG, colour-blind safe (Okabe & Ito), with units, one colour per row of the study."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.image_files import shown
from harness.system.files import checksums, digest, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


HERE = Path(__file__).parent
KEPT = ".drawn.json"  # in a folder of figures: what they were made from
COLOURS = ("#000000", "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73", "#999933")
DASHES = ("-", "--", ":", "-", "--", "-.", "-", ":")
INCHES = 0.78  # of an image in a strip, with the gap beside it
NAMES_BELOW = 1.0  # inches
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


MOST_TICKS = 8


def plain(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Labels a logarithmic axis with plain numbers, at `ticks` if there are few enough, and without minor ones.

    By default its labels are formulas, which `save` would print as they are written.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = sorted(axis.get_view_interval())
    inside = [tick for tick in ticks if low <= tick <= high]
    if 0 < len(inside) <= MOST_TICKS:
        axis.set_ticks(inside)
        axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


LETTERS = 60  # of a name in a legend


def legend(drawing: Figure, handles: Mapping[str, Any]) -> None:
    """Puts the legend of handles by name below the figure, in as many columns, at most four, as it has room for."""
    names = [textwrap.shorten(label(name), LETTERS, placeholder=" ...") for name in handles]
    for columns in range(min(4, len(names)), 0, -1):
        drawn = drawing.legend(
            handles.values(), names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )
        room: float = drawing.bbox.width
        if columns == 1 or drawn.get_window_extent().width <= room:
            return
        drawn.remove()


suffixes = [".png"]  # of the files that `save` writes


@contextlib.contextmanager
def also_as(suffix: str) -> Iterator[None]:
    """Every figure that is saved within is also written with this suffix."""
    suffixes.append(suffix)
    try:
        yield
    finally:
        suffixes.remove(suffix)


def save(drawing: Figure, path: Path) -> None:
    """Writes the figure at 90 dots per inch; a dollar sign in a text is a dollar sign."""
    from matplotlib.text import Text

    for text in drawing.findobj(Text):
        text.set_parse_math(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        drawing.savefig(path.with_suffix(suffix), dpi=90)


def kept(folder: Path, made_from: str | None, draw: Callable[[], dict[str, bool]]) -> dict[str, bool]:
    """What `draw` draws in `folder`, and returns for every figure whether there is anything to draw.

    Nothing is drawn again as long as `made_from`, the digest of all results, this code and the figures stay the same.
    None stands for results that may still change.
    """
    stamp, code = folder / KEPT, [path.read_text(encoding="utf-8") for path in sorted(HERE.rglob("*.py"))]
    inputs = None if made_from is None else digest([made_from, *suffixes, *code])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = read_json(stamp)
        if inputs is not None and found["made_from"] == inputs and found["files"] == _fingerprints(folder):
            return {str(name): bool(there) for name, there in found["drawn"].items()}
    drawn = draw()
    if inputs is not None and folder.exists():
        write_json(stamp, {"made_from": inputs, "drawn": drawn, "files": _fingerprints(folder)})
    return drawn


def _fingerprints(folder: Path) -> dict[str, str]:
    paths = sorted(folder.glob("*.png"))
    return dict(zip((path.name for path in paths), checksums(paths), strict=True))


def strips(
    lines: dict[str, np.ndarray], path: Path, titles: dict[int, str] | None = None, below: Sequence[str] = ()
) -> bool:
    """Draws lines of images (n, H, W, 3), names at the left; False if there are none.

    `titles` stand above columns, by their number, and the names `below` are those of all columns.

    All images are one array on one pair of axes: axes for each of them take a hundred times as long.
    """
    if not lines:
        return False
    count, (height, width) = max(map(len, lines.values())), next(iter(lines.values())).shape[1:3]
    gap = max(1, height // 16)
    down, right = height + gap, width + gap
    canvas = np.full((down * len(lines) - gap, right * count - gap, 3), 255, np.uint8)
    for row, images in enumerate(lines.values()):
        for column, image in enumerate(images):
            canvas[row * down : row * down + height, column * right : column * right + width] = image
    drawing, axis = figure(1.9 + INCHES * count, 0.25 + INCHES * len(lines) + (NAMES_BELOW if below else 0))
    axis.imshow(canvas, interpolation="nearest")
    axis.set_frame_on(False)
    axis.tick_params(length=0, labelsize=9)
    axis.xaxis.tick_top()
    axis.set_yticks([row * down + height / 2 for row in range(len(lines))], [label(name) for name in lines])
    named = titles or {}
    axis.set_xticks([column * right for column in named], list(named.values()), ha="left")
    if below:
        under = axis.secondary_xaxis("bottom")
        under.set_xticks(
            [column * right + width / 2 for column in range(count)], [label(n) for n in below], rotation=90
        )
        under.tick_params(length=0, labelsize=8)
        under.spines["bottom"].set_visible(False)
    save(drawing, path)
    return True
