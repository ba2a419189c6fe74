"""Figures of a sweep."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.experiments.objectives import Objective
from harness.system import plugins
from reports.claims import quantities
from reports.figures import COLOURS, MARKERS, figure, legend, plain, save
from reports.statistics import intervals
from reports.styles import styles

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

    from reports.sweep.answer import Answer
    from reports.sweep.points import TriedPoint, TriedPoints

SHARE, KEPT = "information_share", "information_kept"
REFERENCE = "linear-Gaussian KL"
KL_TICKS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)  # nats
TITLE = 46  # letters of a line


def objective(points: TriedPoints, answer: Answer, path: Path) -> bool:
    """Draws every objective over the only axis, beside the paper's curve, or over the first two axes."""
    if not points.done:
        return False
    objectives = points.request.objectives
    papers = [answer.paper_curve(o) for o in objectives]
    columns = 1 + any(papers)
    drawing, axes = figure(
        5.4 * columns + 0.6, 3.6 * len(objectives) + 0.5, nrows=len(objectives), ncols=columns, squeeze=False
    )
    for line, o, curve in zip(axes, objectives, papers, strict=True):
        if len(points.axes) > 1:
            _over_two(line[0], points, o)
            continue
        _over_axis(line[0], points, lambda point, o=o: point.objective_values(o), points.noise(o))  # type: ignore[misc]
        line[0].set_title(f"{title_of(o)}, ours", fontsize=10, loc="left")
        for axis in line[1:]:
            axis.plot(list(curve), list(curve.values()), color=COLOURS[0], marker="o", linewidth=1.6)
            axis.set_title(answer.paper_title(o) if curve else "not in the paper", fontsize=10, loc="left")
            axis.set_xlabel(points.axes[0].name)
            axis.set_xlim(line[0].get_xlim())
            axis.grid(alpha=0.3)
    save(drawing, path)
    return True


def latents(points: TriedPoints, path: Path) -> bool:
    """Draws the information in the latents at the end of training over the only axis, one line per row.

    The panels are KL with that of the best linear-Gaussian model, active units, and both shares of information.
    """
    if not points.done or len(points.axes) > 1:
        return False
    drawing, axes = figure(9.5, 7.4, nrows=2, ncols=2)
    panels: dict[str, Callable[[TriedPoint], Sequence[float]]] = {
        "KL (nats)": lambda point: point.metric_values("kl"),
        "active units (%)": lambda point: point.metric_values("active_units"),
        quantities.title(SHARE): lambda point: point.quantities(SHARE),
        quantities.title(KEPT): lambda point: point.quantities(KEPT),
    }
    for axis, (title, values_of) in zip(axes.flat, panels.items(), strict=True):
        _over_axis(axis, points, values_of)
        axis.set_title(textwrap.fill(title, TITLE), fontsize=10, loc="left")
        axis.set_ylim(bottom=0)
        if (inside := axis.get_legend()) is not None:
            inside.remove()  # one for all panels is below
    reference = {p.coordinate: values[0] for p in points.done if (values := p.metric_values("linear_gaussian_kl"))}
    line = dict(sorted(reference.items()))
    axes[0, 0].plot(list(line), list(line.values()), color="grey", linestyle=":", linewidth=1.6, label=REFERENCE)
    axes[0, 0].set_yscale("symlog", linthresh=1.0)
    plain(axes[0, 0].yaxis, KL_TICKS)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    legend(drawing, dict(zip(labels, handles, strict=True)))
    save(drawing, path)
    return True


def _over_axis(
    axis: Axes, points: TriedPoints, values_of: Callable[[TriedPoint], Sequence[float]], noise: float | None = None
) -> None:
    """Draws means over seeds with their intervals, one line per row; with `noise` also its band and a dot per seed."""
    looks = styles({row.name: row.variant for row in points.request.chosen_rows()})
    for row, of_row in points.by_row.items():
        measured = [(point.coordinate, values) for point in of_row if (values := values_of(point))]
        x, means = [at for at, _ in measured], np.array([np.mean(values) for _, values in measured])
        halves = [intervals.half_width(values) or 0.0 for _, values in measured]
        style = looks[row]
        axis.errorbar(x, means, yerr=halves, marker=style.marker, markersize=5, capsize=3, label=row, **style.line)
        if noise is not None:
            axis.fill_between(x, means - noise, means + noise, color=style.colour, alpha=0.15, linewidth=0)
            for at, values in measured:
                axis.plot([at] * len(values), values, ".", color=style.colour, alpha=0.6)
    if points.axes[0].log:
        axis.set_xscale("log")
        plain(axis.xaxis, sorted({point.coordinate for point in points.done}))
    axis.set_xlabel(points.axes[0].name)
    axis.grid(alpha=0.3)
    if len(points.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def _over_two(axis: Axes, points: TriedPoints, o: Objective) -> None:
    """Draws the first two axes with the objective in colour, a ring around the best point, and a marker per row."""
    first, second = points.axes[:2]
    means = [point.mean(o) for point in points.done]
    for number, (row, of_row) in enumerate(points.by_row.items()):
        x, y = np.array([[value for _, value in point.location.values[:2]] for point in of_row]).T
        colours: dict[str, Any] = {"c": [point.mean(o) for point in of_row], "vmin": min(means), "vmax": max(means)}
        scatter = axis.scatter(x, y, marker=MARKERS[number], label=row, **colours)
    (_, best_x), (_, best_y), *_ = points.best(o, points.done).location.values
    axis.scatter(best_x, best_y, s=140, facecolors="none", edgecolors=COLOURS[1], linewidths=1.6)
    axis.figure.colorbar(scatter, ax=axis)
    for log, set_scale in ((first.log, axis.set_xscale), (second.log, axis.set_yscale)):
        if log:
            set_scale("log")
    for log, of in ((first.log, axis.xaxis), (second.log, axis.yaxis)):
        if log:
            plain(of)
    axis.set_xlabel(first.name)
    axis.set_ylabel(second.name)
    axis.set_title(f"{title_of(o)}, ring: the best point", fontsize=10, loc="left")
    if len(points.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def title_of(o: Objective) -> str:
    """The title and unit of an objective."""
    unit = plugins.load("harness.evaluation.metrics", o.metric, "metric").unit
    return f"{o.title}{f' ({unit})' if unit else ''}"


def of_optuna(study: optuna.Study, objectives: Sequence[Objective], folder: Path) -> dict[str, bool]:
    """Draws Optuna's figures: history and, for several parameters, importances, slices and parallel coordinates.

    A grid has the Pareto front alone: its order says nothing, and the figures above have all of its points.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    drawn = dict.fromkeys(("history", "importances", "slices", "parallel", "front"), False)
    if not done:
        return drawn
    gridded = all("fixed_params" in t.system_attrs for t in done)
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.visualization import matplotlib as plots

    several = len({name for t in done for name in t.params}) > 1 and len(done) > 3
    first = objectives[0]
    target: dict[str, Any] = {"target_name": title_of(first)}
    if len(objectives) > 1:
        target["target"] = lambda t: t.values[0]
    plotters: dict[str, Callable[[], Any]] = {}
    if not gridded:
        plotters["history"] = lambda: plots.plot_optimization_history(study, **target)
    if several and not gridded:
        plotters["slices"] = lambda: plots.plot_slice(study, **target)
        plotters["parallel"] = lambda: plots.plot_parallel_coordinate(study, **target)
        if len({t.values[0] for t in done}) > 1:
            fanova = FanovaImportanceEvaluator(seed=0)  # the default uses only the best tenth
            plotters["importances"] = lambda: plots.plot_param_importances(study, evaluator=fanova, **target)
    if len(objectives) in (2, 3):
        plotters["front"] = lambda: plots.plot_pareto_front(study, target_names=[title_of(o) for o in objectives])
    for name, plot in plotters.items():
        drawn[name] = _save_plot(plot, folder / f"{name}.png")
    return drawn


def _save_plot(plot: Callable[[], Any], path: Path) -> bool:
    """Saves a figure that Optuna draws with pyplot, without a window."""
    import matplotlib
    import optuna

    with matplotlib.rc_context({"backend": "Agg"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        import matplotlib.pyplot as plt

        drawing = np.ravel(plot())[0].figure
        drawing.set_size_inches(9, 4)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(path, dpi=90, bbox_inches="tight")
        plt.close(drawing)
    return True
