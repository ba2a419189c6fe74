"""Figures of a report: PNG, colour-blind safe (Okabe & Ito), with units, each row of the study in one colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.results import Result, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73", "#999933")
DASHES = ("-", "--", ":", "-", "--", "-.", "-", ":")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")
CURVES = (
    ("val/kl", "KL (nats per image)"),
    ("val/active_units", "active units (%)"),
    ("val/shuffled_error", "shuffled-latent error"),
    ("val/error", "squared error"),
    ("probe", "linear probe (%)"),
    ("rfd", "rFD (Lite2)"),
)


def figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches with a grid of axes, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(**grid)


def save(made: Figure, path: Path) -> None:
    """Writes the figure at 90 dots an inch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, dpi=90)


def curves(results: Sequence[Result], path: Path) -> bool:
    """Diagnostics over the tokenizer's training, one line a row and seed; False where there is nothing to draw."""
    if all(result.curves.empty for result in results):
        return False
    made, axes = figure(11, 6.2, nrows=2, ncols=3, sharex=True)
    for axis, (metric, label) in zip(axes.flat, CURVES, strict=True):
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for first, result in enumerate(seeds):
                _line(axis, result, metric, number, name if first == 0 else None)
        axis.set_title(label, fontsize=10, loc="left")
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("training step")
    axes[0, 0].set_ylim(bottom=0)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save(made, path)
    return True


def generator_curves(results: Sequence[Result], path: Path) -> bool:
    """gFD and the error of the velocity over the generator's training, one line a row and seed."""
    panels = {
        "gFD (Lite2), without guidance": lambda r: r.points("gfd", "generator_snapshots"),
        "squared error of the velocity on val": lambda r: r.curves_of("generator").get("val/velocity"),
    }
    made, axes = figure(9, 4.2, ncols=2)
    drawn: dict[str, Any] = {}
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for found in (points(result) for result in seeds):
                if found is not None and not (found := found.dropna()).empty:
                    marker = MARKERS[number % 10] if len(found) < 10 else ""
                    style = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
                    (line,) = axis.plot(found.index, found, marker=marker, markersize=4, **style)
                    drawn.setdefault(name, line)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("training step of the generator")
        axis.grid(alpha=0.3)
    if drawn:
        made.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, frameon=False)
        save(made, path)
    return bool(drawn)


def probe_against_gfd(results: Sequence[Result], path: Path) -> bool:
    """The linear probe of the latents against gFD without guidance, a point a row and seed (MacTok Fig. 6a)."""
    made, axis = figure(6.2, 4.4)
    drawn = False
    for number, (name, seeds) in enumerate(rows_of(results).items()):
        pairs = [(r.value("probe"), r.value("gfd", "samples", "generation")) for r in seeds]
        points = [(probe.value, gfd.value) for probe, gfd in pairs if probe is not None and gfd is not None]
        if points:
            axis.scatter(*zip(*points, strict=True), color=COLOURS[number % 8], marker=MARKERS[number % 10], label=name)
            drawn = True
    if not drawn:
        return False
    axis.set_xlabel("linear probe (%)")
    axis.set_ylabel("gFD (Lite2), without guidance")
    axis.grid(alpha=0.3)
    made.legend(loc="outside right center", frameon=False, fontsize=9)
    save(made, path)
    return True


def _line(axis: Axes, result: Result, metric: str, number: int, label: str | None) -> None:
    curve = result.curve(metric)
    if curve.empty:
        return
    scale = 100 if metric == "val/active_units" else 1
    style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
    marker = "" if metric.startswith("val/") else MARKERS[number % 10]
    axis.plot(curve.index, scale * curve.to_numpy(), label=label, marker=marker, markersize=4, **style)


def strips(lines: dict[str, np.ndarray], path: Path, titles: dict[int, str] | None = None) -> bool:
    """Lines of images (n, H, W, 3), named at the left; `titles` stand above columns."""
    if not lines:
        return False
    count, size = max(map(len, lines.values())), 0.78
    made, axes = figure(1.9 + size * count, 0.25 + size * len(lines), nrows=len(lines), ncols=count, squeeze=False)
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image, interpolation="nearest")
        for axis in line:
            axis.axis("off")
        line[0].text(
            -0.12, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9, parse_math=False
        )
    for column, title in (titles or {}).items():
        axes[0, column].set_title(title, fontsize=9, loc="left")
    save(made, path)
    return True


def hidden(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3) with the patches of `masks` (n, N) painted in a flat grey."""
    side = round(masks.shape[1] ** 0.5)
    patch = images.shape[1] // side
    pixels = masks.reshape(-1, side, side).repeat(patch, 1).repeat(patch, 2)
    return np.where(pixels[..., None], np.uint8(128), images)


def latents(results: Sequence[Result], classes: Sequence[str], path: Path) -> bool:
    """The first two principal components of the latents of `val`, the first ten classes in colours, a panel a row."""
    shown = [seeds[0] for seeds in rows_of(results).values() if seeds[0].done("evaluation")]
    if not shown:
        return False
    columns = min(4, len(shown))
    made, axes = figure(
        2.7 * columns,
        0.9 + 2.7 * -(-len(shown) // columns),
        nrows=-(-len(shown) // columns),
        ncols=columns,
        squeeze=False,
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, result in zip(axes.flat, shown, strict=False):
        stored = np.load(result.runs["evaluation"].file("latents.npz"))
        projected, share = principal(stored["means"].astype(np.float64))
        for label, name in enumerate(classes[:10]):
            here = projected[stored["labels"] == label]
            colour = COLOURS[label % 8] if label < 8 else ("#882255", "#44AA99")[label - 8]
            axis.scatter(*here.T, s=7, alpha=0.75, color=colour, marker=MARKERS[label], label=name, linewidths=0)
        axis.set_title(f"{result.row.name} ({share:.0%} of variance)", fontsize=9)
    handles, names = axes.flat[0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8, markerscale=2)
    save(made, path)
    return True


def principal(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components (n, 2) of x (n, D), and the share of the variance that they hold."""
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    total = values.sum()
    return x @ vectors[:, :-3:-1], float(values[:-3:-1].sum() / total) if total > 0 else 0.0
