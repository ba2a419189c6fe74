"""Figures of a sweep."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.experiments.objectives import Objective
from harness.system import plugins
from reports.figures import COLOURS, DASHES, MARKERS, figure, save
from reports.statistics import intervals

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

    from reports.sweep.answer import Answer
    from reports.sweep.points import Places, Tried

LATENTS = ("kl", "active_units")


def objective(places: Places, answer: Answer, path: Path) -> bool:
    """Every objective over the one axis, the paper's curve beside it, or over the first two axes."""
    if not places.done:
        return False
    objectives = places.request.objectives
    papers = [answer.paper_curve(o) for o in objectives]
    columns = 1 + any(papers)
    made, axes = figure(
        5.4 * columns + 0.6, 3.6 * len(objectives) + 0.5, nrows=len(objectives), ncols=columns, squeeze=False
    )
    for line, o, curve in zip(axes, objectives, papers, strict=True):
        if len(places.axes) > 1:
            _over_two(line[0], places, o)
            continue
        _over_axis(line[0], places, lambda tried, o=o: tried.of(o), places.noise(o))  # type: ignore[misc]
        line[0].set_title(f"{named(o)} of ours", fontsize=10, loc="left")
        for axis in line[1:]:
            axis.plot(list(curve), list(curve.values()), color=COLOURS[0], marker="o", linewidth=1.6)
            axis.set_title(answer.paper_title(o) if curve else "not in the paper", fontsize=10, loc="left")
            axis.set_xlabel(places.axes[0].name)
            axis.set_xlim(line[0].get_xlim())
            axis.grid(alpha=0.3)
    save(made, path)
    return True


def latents(places: Places, path: Path) -> bool:
    """KL and active units at the end, over the one axis, one line a row."""
    if not places.done or len(places.axes) > 1:
        return False
    made, axes = figure(9.5, 3.8, ncols=len(LATENTS))
    for axis, metric in zip(axes, LATENTS, strict=True):
        _over_axis(axis, places, lambda tried, metric=metric: tried.other(metric))  # type: ignore[misc]
        module = plugins.load("harness.evaluation.metrics", metric, "metric")
        axis.set_title(f"{module.title} ({module.unit})", fontsize=10, loc="left")
        axis.set_ylim(bottom=0)
    save(made, path)
    return True


def _over_axis(
    axis: Axes, places: Places, values: Callable[[Tried], Sequence[float]], noise: float | None = None
) -> None:
    """Means over seeds with their intervals and, where `noise` is given, that and a point a seed; one line a row."""
    for number, (row, tried) in enumerate(places.by_row.items()):
        known = [(t.value, found) for t in tried if (found := values(t))]
        x, means = [at for at, _ in known], np.array([np.mean(found) for _, found in known])
        halves = [intervals.half_width(found) or 0.0 for _, found in known]
        colour = COLOURS[number % 8]
        style: dict[str, Any] = {"color": colour, "linestyle": DASHES[number % 8], "linewidth": 1.6, "label": row}
        axis.errorbar(x, means, yerr=halves, marker=MARKERS[number], markersize=5, capsize=3, **style)
        if noise is not None:
            axis.fill_between(x, means - noise, means + noise, color=colour, alpha=0.15, linewidth=0)
            for at, found in known:
                axis.plot([at] * len(found), found, ".", color=colour, alpha=0.6)
    if places.axes[0].log:
        axis.set_xscale("log")
    axis.set_xlabel(places.axes[0].name)
    axis.grid(alpha=0.3)
    if len(places.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def _over_two(axis: Axes, places: Places, o: Objective) -> None:
    """The first two axes, the objective in colour, the best place ringed; rows by their markers."""
    first, second = places.axes[:2]
    every = [tried.mean(o) for tried in places.done]
    for number, (row, of_row) in enumerate(places.by_row.items()):
        points = np.array([[value for _, value in tried.point.values[:2]] for tried in of_row])
        colours: dict[str, Any] = {"c": [tried.mean(o) for tried in of_row], "vmin": min(every), "vmax": max(every)}
        shown = axis.scatter(points[:, 0], points[:, 1], marker=MARKERS[number], label=row, **colours)
    (_, x), (_, y), *_ = places.best(o, places.done).point.values
    axis.scatter(x, y, s=140, facecolors="none", edgecolors=COLOURS[1], linewidths=1.6)
    axis.figure.colorbar(shown, ax=axis)
    for log, set_scale in ((first.log, axis.set_xscale), (second.log, axis.set_yscale)):
        if log:
            set_scale("log")
    axis.set_xlabel(first.name)
    axis.set_ylabel(second.name)
    axis.set_title(f"{named(o)}, the best ringed", fontsize=10, loc="left")
    if len(places.by_row) > 1:
        axis.legend(frameon=False, fontsize=9)


def named(o: Objective) -> str:
    """Title and unit of an objective."""
    unit = plugins.load("harness.evaluation.metrics", o.metric, "metric").unit
    return f"{o.title}{f' ({unit})' if unit else ''}"


def of_optuna(study: optuna.Study, objectives: Sequence[Objective], folder: Path) -> dict[str, bool]:
    """Optuna's own figures: history and, of several parameters, importances, slices and parallel coordinates."""
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    drawn = dict.fromkeys(("history", "importances", "slices", "parallel", "front"), False)
    if not done:
        return drawn
    from optuna.importance import FanovaImportanceEvaluator
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
            fanova = FanovaImportanceEvaluator(seed=0)  # the default looks at the best tenth alone
            wanted["importances"] = lambda: plots.plot_param_importances(study, evaluator=fanova, **target)
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
        made.set_size_inches(9, 4)
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, dpi=90, bbox_inches="tight")
        plt.close(made)
    return True
