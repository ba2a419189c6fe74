"""Training curves of the page of an ablation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.evaluation import records
from reports.figures import COLOURS, DASHES, MARKERS, figure, save
from reports.results import Result, protocol_of, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = (
    ("val/kl", "KL (nats per image)"),
    ("mutual_information", "mutual information, lower bound (nats)"),
    ("gaussian_rate", "Gaussian rate, its upper bound (nats)"),
    ("val/active_units", "active units (%)"),
    ("effective_rank", "effective rank"),
    ("probe", "linear probe (%)"),
    ("val/shuffled_error", "shuffled-latent error"),
    ("val/error", "squared error"),
    ("rfd", ""),  # its label names the network
)


def curves(results: Sequence[Result], path: Path) -> bool:
    """Draws diagnostics over the tokenizer's training, one line per row and seed; False if there is nothing to draw."""
    if all(result.curves.empty for result in results):
        return False
    drawing, axes = figure(11, 8.6, nrows=3, ncols=3, sharex=True)
    for axis, (metric, label) in zip(axes.flat, CURVES, strict=True):
        if metric == "mutual_information":
            _log_images(axis, results)
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for first, result in enumerate(seeds):
                _line(axis, result, metric, number, name if first == 0 else None)
        axis.set_title(label or _title(metric, results, "val", "snapshots"), fontsize=10, loc="left")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    for axis in axes[0]:
        axis.set_ylim(bottom=0)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save(drawing, path)
    return True


def generator_curves(results: Sequence[Result], path: Path) -> bool:
    """Draws gFD and the error of the velocity over the generator's training, one line per row and seed."""
    gfd = _title("gfd", results, "samples", "generator_snapshots")
    panels = {
        f"{gfd}, without guidance": lambda r: r.points("gfd", "generator_snapshots"),
        "squared error of the velocity on val": lambda r: r.curves_of("generator").get("val/velocity"),
    }
    drawing, axes = figure(9, 4.2, ncols=2)
    drawn: dict[str, Any] = {}
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for curve in (points(result) for result in seeds):
                if curve is not None and not (curve := curve.dropna()).empty:
                    marker = MARKERS[number % 10] if len(curve) < 10 else ""
                    style = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
                    (line,) = axis.plot(curve.index, curve, marker=marker, markersize=4, **style)
                    drawn.setdefault(name, line)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("training step of the generator")
        axis.grid(alpha=0.3)
    if drawn:
        drawing.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, frameon=False)
        save(drawing, path)
    return bool(drawn)


def _title(metric: str, results: Sequence[Result], split: str, stage: str) -> str:
    return records.full_title(metric, protocol_of(results, metric, split, stage))


def _line(axis: Axes, result: Result, metric: str, number: int, label: str | None) -> None:
    curve = result.curve(metric)
    if curve.empty:
        return
    scale = 100 if metric == "val/active_units" else 1
    style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
    marker = "" if metric.startswith("val/") else MARKERS[number % 10]
    axis.plot(curve.index, scale * curve.to_numpy(), label=label, marker=marker, markersize=4, **style)


def _log_images(axis: Axes, results: Sequence[Result]) -> None:
    """Draws a line at log N, the maximum of the estimate of the mutual information."""
    for n in {r.n for result in results for r in result.records("snapshots") if r.metric == "mutual_information"}:
        axis.axhline(math.log(n), color="grey", linewidth=0.8)
        position = (0.01, math.log(n))
        axis.annotate("log N", position, xycoords=("axes fraction", "data"), va="top", color="grey", fontsize=9)
