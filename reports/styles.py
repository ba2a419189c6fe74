"""The style of every row in figures: a variant has one colour on every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from models.variants import VARIANTS
from reports.figures import COLOURS, DASHES, MARKERS, shades
from reports.results import Result, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST = (
    *("autoencoder", "kl_vae", "latent_masking", "image_masking", "local_alignment", "mactok_no_global"),
    *("mactok", "mixed_masking"),
)  # in the order of COLOURS
OTHERS = (
    *("#7570B3", "#E7298A", "#5F9C1C", "#A6761D", "#666666", "#332288", "#117733", "#882255"),
    *("#AA4499", "#661100", "#5B8FC7", "#00868B", "#E31A1C", "#1F3BFF", "#4B5320", "#B15928"),
)  # of the other variants, in their order
OF_USERS = "#8C6BB1"
FEW_POINTS = 10  # of a curve, so that each has a marker


@dataclass(frozen=True)
class Style:
    """The colour, dashes and marker of a row."""

    colour: str
    dashes: str
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib takes for a line."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 1.6}


def styles_of(results: Sequence[Result]) -> dict[str, Style]:
    """The style of every row that has results."""
    return styles({name: seeds[0].row.variant for name, seeds in rows_of(results).items()})


def styles(variants: Mapping[str, str]) -> dict[str, Style]:
    """The style of rows by their variants. The first row of a variant has its colour, further ones a map of colours."""
    found = {}
    for number, (name, variant) in enumerate(variants.items()):
        alike = [other for other, of in variants.items() if of == variant]
        place = alike.index(name)
        colour = _of_variant(variant) if place == 0 else shades(len(alike))[place]
        found[name] = Style(colour, DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])
    return found


def _of_variant(variant: str) -> str:
    if variant in FIRST:
        return COLOURS[FIRST.index(variant)]
    others = [name for name in VARIANTS if name not in FIRST]
    return OTHERS[others.index(variant) % len(OTHERS)] if variant in others else OF_USERS


def by_step(curves: Sequence[pd.Series]) -> pd.DataFrame:
    """Curves side by side, one line per step; those without a value are left out."""
    filled = [curve.dropna() for curve in curves if not curve.dropna().empty]
    return pd.concat(filled, axis=1).sort_index() if filled else pd.DataFrame()


def draw_seeds(axis: Axes, curves: Sequence[pd.Series], style: Style, name: str) -> bool:
    """Draws the mean of a row's curves over seeds, by step, with the range of the seeds; False if they are empty."""
    frame = by_step(curves)
    if frame.empty:
        return False
    mean = frame.mean(axis=1)
    marker = style.marker if len(mean) < FEW_POINTS else ""
    axis.plot(mean.index, mean, marker=marker, markersize=4, label=name, **style.line)
    if len(frame.columns) > 1:
        axis.fill_between(mean.index, frame.min(axis=1), frame.max(axis=1), color=style.colour, alpha=0.15, linewidth=0)
    return True


def merged(results: Sequence[Result], stage: str) -> dict[str, list[Result]]:
    """The results by row, rows with the same runs of `stage` once, under the names of all."""
    names: dict[tuple[str, ...], list[str]] = {}
    rows = rows_of(results)
    for name, seeds in rows.items():
        names.setdefault(tuple(r.runs[stage].key for r in seeds if stage in r.runs), []).append(name)
    return {
        (" = ".join(alike) if len(alike) < 4 else f"{alike[0]} = {alike[1]} = {len(alike) - 2} more"): rows[alike[0]]
        for alike in names.values()
    }
