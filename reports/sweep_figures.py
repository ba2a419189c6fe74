"""Figures of a sweep."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import plugins
from harness.objectives import Objective
from reports import intervals
from reports.figures import COLOURS, DASHES, MARKERS, figure, save

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

    from reports.sweep import Page

LATENTS = ("kl", "active_units")


def objective(page: Page, path: Path) -> bool:
    """Every objective over the space: over the one axis with the paper's curve beside it, or over the first two."""
    if not page.done:
        return False
    objectives = page.asked.objectives
    papers = page.paper_curves() if len(page.axes) == 1 else {}
    columns = 1 + any(papers.values())
    made, axes = figure(
        5.4 * columns + 0.6, 3.6 * len(objectives) + 0.5, nrows=len(objectives), ncols=columns, squeeze=False
    )
    for line, o in zip(axes, objectives, strict=True):
        if len(page.axes) == 1:
            over_axis(line[0], page, o)
        else:
            over_two(line[0], page, o)
        for axis in line[1:]:
            curve = papers.get(o.metric, {})
            axis.plot(list(curve), list(curve.values()), color=COLOURS[0], marker="o", linewidth=1.6)
            axis.set_title(page.paper_title(o) if curve else "not in the paper", fontsize=10, loc="left")
            axis.set_xlabel(page.axes[0].name)
            axis.set_xlim(line[0].get_xlim())
            axis.grid(alpha=0.3)
    save(made, path)
    return True


def over_axis(axis: Axes, page: Page, o: Objective) -> None:
    """Means with their intervals, a point a seed, and the noise between seeds, one line a row."""
    noise = page.noise(o)
    for number, (row, places) in enumerate(page.by_row.items()):
        x, means = [p.value for p in places], np.array([p.mean(o) for p in places])
        style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
        halves = [intervals.half_width(p.of(o)) or 0.0 for p in places]
        axis.errorbar(x, means, yerr=halves, marker=MARKERS[number], markersize=5, capsize=3, label=row, **style)
        if noise is not None:
            axis.fill_between(x, means - noise, means + noise, color=COLOURS[number % 8], alpha=0.15, linewidth=0)
            for place in places:
                axis.plot([place.value] * len(place.of(o)), place.of(o), ".", color=COLOURS[number % 8], alpha=0.6)
    if page.axes[0].log:
        axis.set_xscale("log")
    axis.set_xlabel(page.axes[0].name)
    axis.set_title(f"{named(o)} of ours", fontsize=10, loc="left")
    axis.grid(alpha=0.3)
    if len(page.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def over_two(axis: Axes, page: Page, o: Objective) -> None:
    """The first two axes, the objective in colour, the best place ringed; rows by their markers."""
    first, second = page.axes[:2]
    values = [place.mean(o) for place in page.done]
    for number, (row, places) in enumerate(page.by_row.items()):
        points = np.array([[v for _, v in place.point.values[:2]] for place in places])
        colours: dict[str, Any] = {"c": [p.mean(o) for p in places], "vmin": min(values), "vmax": max(values)}
        shown = axis.scatter(points[:, 0], points[:, 1], marker=MARKERS[number], label=row, **colours)
    (_, x), (_, y), *_ = page.best(o, page.done).point.values
    axis.scatter(x, y, s=140, facecolors="none", edgecolors=COLOURS[1], linewidths=1.6)
    axis.figure.colorbar(shown, ax=axis)
    for log, set_scale in ((first.log, axis.set_xscale), (second.log, axis.set_yscale)):
        if log:
            set_scale("log")
    axis.set_xlabel(first.name)
    axis.set_ylabel(second.name)
    axis.set_title(f"{named(o)}, the best ringed", fontsize=10, loc="left")
    if len(page.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def latents(page: Page, path: Path) -> bool:
    """KL and active units at the end, over the one axis, one line a row."""
    if not page.done or len(page.axes) > 1:
        return False
    made, axes = figure(9.5, 3.8, ncols=len(LATENTS))
    for axis, metric in zip(axes, LATENTS, strict=True):
        for number, (row, places) in enumerate(page.by_row.items()):
            known = [(p.value, values) for p in places if (values := page.values(p, metric))]
            style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
            halves = [intervals.half_width(values) or 0.0 for _, values in known]
            means = [sum(values) / len(values) for _, values in known]
            x = [value for value, _ in known]
            axis.errorbar(x, means, yerr=halves, marker=MARKERS[number], markersize=5, capsize=3, label=row, **style)
        if page.axes[0].log:
            axis.set_xscale("log")
        axis.set_xlabel(page.axes[0].name)
        module = plugins.load("harness.metrics", metric, "metric")
        axis.set_title(f"{module.title} ({module.unit})", fontsize=10, loc="left")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    if len(page.by_row) > 1:
        axes[0].legend(frameon=False, fontsize=9)
    save(made, path)
    return True


def named(o: Objective) -> str:
    """Title and unit of an objective."""
    unit = plugins.load("harness.metrics", o.metric, "metric").unit
    return f"{o.title}{f' ({unit})' if unit else ''}"


def of_optuna(study: optuna.Study, objectives: Sequence[Objective], folder: Path) -> dict[str, bool]:
    """Optuna's own figures: history and, of several parameters, importances, slices and parallel coordinates."""
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    drawn = dict.fromkeys(("history", "importances", "slices", "parallel", "front"), False)
    if not done:
        return drawn
    from optuna.visualization import matplotlib as plots

    several = len({name for t in done for name in t.params}) > 1 and len(done) > 3
    first, whole = objectives[0], len(objectives) == 1
    target: dict[str, Any] = {"target_name": named(first)}
    if not whole:
        target["target"] = lambda t: t.values[0]
    wanted: dict[str, Callable[[], Any]] = {"history": lambda: plots.plot_optimization_history(study, **target)}
    if several:
        wanted["slices"] = lambda: plots.plot_slice(study, **target)
        wanted["parallel"] = lambda: plots.plot_parallel_coordinate(study, **target)
        if len({t.values[0] for t in done}) > 1:
            wanted["importances"] = lambda: plots.plot_param_importances(study, **target)
    if len(objectives) in (2, 3):
        wanted["front"] = lambda: plots.plot_pareto_front(study, target_names=[named(o) for o in objectives])
    for name, plot in wanted.items():
        drawn[name] = _save_plot(plot, folder / f"{name}.png")
    return drawn


def _save_plot(plot: Callable[[], Any], path: Path) -> bool:
    """Draws without a window what Optuna draws with pyplot."""
    import matplotlib
    import optuna

    with matplotlib.rc_context({"backend": "Agg"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        import matplotlib.pyplot as plt

        made = np.ravel(plot())[0].figure
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, dpi=90, bbox_inches="tight")
        plt.close(made)
    return True
