"""Figures of a page: PNG, colour-blind safe (Okabe & Ito), with units, one colour per row of the study."""

from __future__ import annotations

import contextlib
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.image_files import shown
from harness.system.files import checksums, digest, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


BREAKS = re.compile(r"(\s+|(?<=[:=/])(?=[^\s/])|(?<=\w-)(?=\w))")  # where a line may end
HERE = Path(__file__).parent
KEPT = ".drawn.json"  # in a folder of figures: what they were made from
WIDTH = 7.4  # inches, the most; letters of POINTS are 7 points high where it fills the 6.5 inches of a printed page
POINTS = 8  # of all text
DPI = 120
LETTER = 0.066  # inches, the mean width of a letter
COLOURS = ("#000000", "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73", "#999933")
CONTRAST = 2.2  # to white, the least: that of the orange, the lightest of these colours
DARK = 0.7  # the part of a map of colours that has it
DASHES = ("-", "--", ":", "-", "--", "-.", "-", ":")
CELL = 0.6  # inches, the most for an image in a strip with the gap beside it
STRIP_DPI = 180
MARGIN = 0.05  # inches around a strip
LINE = 22  # letters of a line of a name beside or below a strip
SHORT = 18  # letters of a name of one line
LINES = 2.4 * POINTS / 72  # inches, the height of a name of two lines
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")


def figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches, at most `WIDTH` wide, with a grid of axes, drawn without a window."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": POINTS}):
        drawing = Figure(figsize=(min(width, WIDTH), height), layout="constrained", dpi=DPI)
        FigureCanvasAgg(drawing)
        return drawing, drawing.subplots(**grid)


def panels(count: int, height: float, most: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of this height in inches, at most so many in a line.

    Lines are as even as can be: five panels are three and two.
    """
    lines = -(-count // most)
    columns = -(-count // lines)
    width = WIDTH * max(columns, 2) / max(most, 2)
    drawing, axes = figure(width, height * lines, nrows=lines, ncols=columns, squeeze=False)
    for axis in axes.flat[count:]:
        axis.remove()
    return drawing, list(axes.flat[:count])


def title(axis: Axes, text: str) -> None:
    """Writes the title above the left end of a panel, in as many lines as its share of the figure asks for."""
    spec = axis.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    letters = int(axis.figure.bbox.width / axis.figure.dpi / columns / LETTER)
    axis.set_title("\n".join(wrapped(line, letters) for line in text.split("\n")), fontsize=POINTS, loc="left")


def wrapped(text: str, letters: int) -> str:
    """A text in lines of so many letters; names of files and objects break after their signs."""
    wrapper = textwrap.TextWrapper(letters)
    wrapper.wordsep_re = BREAKS
    return wrapper.fill(text)


def shades(count: int) -> list[str]:
    """Colours of a map for an ordered few: they stand out from white, and none is that of a variant."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["cividis"](DARK * place / max(1, count - 1))) for place in range(count)]


def label(name: str) -> str:
    """A name from a data set as text that the font has: escapes for what cannot be printed or drawn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else f"U+{ord(c):04X} " for c in shown(name)).strip()
    return f" {drawn}" if drawn.startswith("_") else drawn  # a legend leaves out names that begin with an underscore


MOST_TICKS = 8
DECADES = 100.0  # the ratio of values from which an axis is logarithmic
CROWDED = 0.25  # the share of values below a tenth of the largest from which it is
ABOVE = 1.5  # the height of a logarithmic axis, as a multiple of the most that it shows


def scale_of(values: Iterable[float], grain: float) -> dict[str, Any]:
    """The scale that tells values apart, as matplotlib takes it; values are known to `grain`.

    It is linear, unless they span two decades and many crowd at the low end: then logarithmic, or, where some are below
    the grain, linear there and logarithmic above. Values that are clearly negative have a linear one.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    crowd = sum(value < high / 10 for value in known)
    if low <= -grain or high < DECADES * max(low, grain) or crowd < CROWDED * len(known):
        return {"value": "linear"}
    return {"value": "log"} if low > grain else {"value": "symlog", "linthresh": grain}


def norm_of(values: Sequence[float], grain: float) -> Normalize:
    """The norm of colours that tells these values apart."""
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    name, low, high = scale_of(values, grain)["value"], min(values), max(values)
    if name == "symlog":
        return SymLogNorm(grain, vmin=low, vmax=high)
    return LogNorm(low, high) if name == "log" else Normalize(low, high)


def fit(axis: Axis, values: Sequence[float], grain: float) -> None:
    """Gives an axis the scale that tells these values apart, with plain numbers."""
    scale = scale_of(values, grain)
    if scale["value"] == "linear":
        return
    across = axis is axis.axes.xaxis
    (axis.axes.set_xscale if across else axis.axes.set_yscale)(**scale)
    if scale["value"] == "symlog":
        axis.set_label_text(f"{axis.get_label_text()} (linear below {grain:g})".strip())
        (axis.axes.set_xlim if across else axis.axes.set_ylim)(0.0, ABOVE * axis.get_data_interval()[1])
    decades = [10.0**k for k in range(math.floor(math.log10(grain)), math.ceil(math.log10(max(values))) + 1)]
    plain(axis, [0.0, *decades] if scale["value"] == "symlog" else decades)


def plain(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Labels a logarithmic axis with plain numbers, at `ticks` if there are few enough, and without minor ones.

    By default its labels are formulas, which `save` would print as they are written.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = sorted(axis.get_view_interval())
    inside = _apart(axis, [tick for tick in ticks if low <= tick <= high])
    if 0 < len(inside) <= MOST_TICKS:
        axis.set_ticks(inside)
        axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _apart(axis: Axis, ticks: Sequence[float]) -> list[float]:
    """Those of the ascending ticks whose labels do not touch the one before."""
    across = axis is axis.axes.xaxis
    box, dpi = axis.axes.get_window_extent(), axis.axes.figure.dpi
    inches = (box.width if across else box.height) / dpi
    low, high = axis.get_transform().transform(np.sort(axis.get_view_interval()))
    found: list[float] = []
    end = -math.inf
    for tick in ticks:
        place = float(axis.get_transform().transform(tick) - low) / (high - low) * inches
        half = LETTER * (len(f"{tick:g}") + 1) / 2 if across else POINTS / 72 / 2
        if place - half >= end:
            found.append(tick)
            end = place + half
    return found


def colour_bar(image: ScalarMappable, axes: Sequence[Axes], label: str) -> None:
    """Adds the scale of colours beside panels, with plain numbers."""
    bar = axes[0].figure.colorbar(image, ax=list(axes), label=label, shrink=0.8)
    if bar.ax.get_yscale() in ("log", "symlog"):
        low, high = bar.ax.get_ylim()
        least = low if bar.ax.get_yscale() == "log" else float(getattr(bar.norm, "linthresh", high))
        decades = [10.0**k for k in range(math.floor(math.log10(least)), math.ceil(math.log10(high)) + 1)]
        plain(bar.ax.yaxis, [tick for tick in (0.0, *decades) if low <= tick <= high])


def few_ticks(axis: Axis) -> None:
    """Labels an axis at so few numbers that long ones do not touch."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(4))


def whole(axis: Axis) -> None:
    """Labels an axis of numbers of tokens, channels or trials at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(MOST_TICKS, integer=True))


LETTERS = 60  # of a name in a legend


def shortened(name: str, letters: int = LETTERS) -> str:
    """A name as text of at most so many letters."""
    text = label(name)
    return text if len(text) <= letters else f"{text[: letters - 3].rstrip()}..."


def legend(drawing: Figure, order: Sequence[str] = ()) -> None:
    """Puts all that the panels name below the figure, each name once, in as many columns, at most four, as have room.

    The figure grows by the legend. Names stand in this `order` if it is given, otherwise as the panels have them.
    """
    found: dict[str, Any] = {}
    for axis in drawing.axes:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    handles = {name: found[name] for name in order or found if name in found}
    names = [shortened(name) for name in handles]
    for most in range(min(4, len(names)), 0, -1):
        columns = -(-len(names) // -(-len(names) // most))  # as few as the lines need
        drawn = drawing.legend(
            handles.values(), names, loc="outside lower center", ncols=columns, frameon=False, fontsize=POINTS
        )
        room: float = drawing.bbox.width
        extent = drawn.get_window_extent()
        if columns == 1 or extent.width <= room:
            drawing.set_figheight(drawing.get_figheight() + extent.height / drawing.dpi)
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


def save(drawing: Figure, path: Path, dpi: int = DPI) -> None:
    """Writes the figure, with all text in one size; a dollar sign in a text is a dollar sign."""
    from matplotlib.text import Text

    for axis in drawing.axes:
        axis.tick_params(which="both", labelsize=POINTS)
    for text in drawing.findobj(Text):
        text.set_parse_math(False)
        text.set_fontsize(POINTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        drawing.savefig(path.with_suffix(suffix), dpi=dpi)


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
    drawing, axis = figure(WIDTH, WIDTH)
    drawing.set_layout_engine("none")
    drawing.set_dpi(STRIP_DPI)  # letters are not as wide at another
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    axis.set_frame_on(False)
    axis.tick_params(length=0, labelsize=POINTS)
    axis.xaxis.tick_top()
    middles = [row * down + height / 2 for row in range(len(lines))]
    axis.set_yticks(middles, [_wrapped(name) for name in lines])
    named = titles or {}
    axis.set_xticks([column * right for column in named], list(named.values()), ha="left")
    if below:
        under = axis.secondary_xaxis("bottom")
        centres = [column * right + width / 2 for column in range(count)]
        under.set_xticks(centres, [_wrapped(name) for name in below], rotation=90)
        under.tick_params(length=0, labelsize=POINTS)
        under.spines["bottom"].set_visible(False)
    _fit(drawing, axis, canvas, right / CELL)
    if drawing.get_figheight() * axis.get_position().height < LINES * len(lines):  # names of two lines would touch
        axis.set_yticks(middles, [shortened(name, SHORT) for name in lines])
        _fit(drawing, axis, canvas, right / CELL)
    save(drawing, path, STRIP_DPI)
    return True


def _wrapped(name: str) -> str:
    """A name beside an image, in two lines at most."""
    text = label(name).replace("+ ", "+\N{NO-BREAK SPACE}")
    first, *rest = wrapped(text, LINE).split("\n")
    if len(rest) > 1:
        rest = [shortened(text[len(first) :].strip(), LINE)]
    return "\n".join([first, *rest])


def _fit(drawing: Figure, axis: Axes, canvas: np.ndarray, pixels: float) -> None:
    """Makes the figure as large as the strip with its names, with at least so many `pixels` of an image to the inch.

    Pixels of images that are enlarged are whole numbers of dots, so that all of them are equal.
    """
    axis.set_position((0, 0, 1, 1))
    left, under, over, _ = _overhang(drawing, axis)
    dots = min(STRIP_DPI / pixels, STRIP_DPI * (WIDTH - left - MARGIN) / canvas.shape[1])
    if dots < 1:
        axis.images[0].set_interpolation("antialiased")
    inches = (math.floor(dots) if dots >= 1 else dots) / STRIP_DPI
    high, wide = canvas.shape[0] * inches, canvas.shape[1] * inches
    for right in (MARGIN, None):  # whether a title is longer than the strip is known when the strip has its width
        size = left + wide + (_overhang(drawing, axis)[3] if right is None else right), under + high + over
        drawing.set_size_inches(*size)
        axis.set_position((left / size[0], under / size[1], wide / size[0], high / size[1]))


def _overhang(drawing: Figure, axis: Axes) -> tuple[float, ...]:
    """The inches that text takes at the left, below, above and at the right of the axes, each with a margin."""
    inside, outside = axis.get_window_extent(), axis.get_tightbbox()
    assert outside is not None
    rooms = inside.x0 - outside.x0, inside.y0 - outside.y0, outside.y1 - inside.y1, outside.x1 - inside.x1
    return tuple(max(0.0, room) / drawing.dpi + MARGIN for room in rooms)
