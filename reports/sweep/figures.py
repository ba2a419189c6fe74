"""Figures of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.evaluation.records import digits_of
from harness.experiments.objectives import Objective
from harness.system import plugins
from reports.claims import quantities
from reports.figures import (
    COLOURS,
    MARKERS,
    WIDTH,
    colour_bar,
    figure,
    fit,
    legend,
    norm_of,
    panels,
    plain,
    save,
    title,
    whole,
)
from reports.statistics import intervals
from reports.styles import styles

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

    from reports.sweep.answer import Answer
    from reports.sweep.points import TriedPoint, TriedPoints

OF_LATENTS = ("kl", "active_units", "information_share", "information_kept")
REFERENCE = "linear_gaussian_kl"
ASIDE = 0.01  # between two rows, of the axis
ABOVE = 1.05  # the height of a panel, as a multiple of the most that it shows


def objective(points: TriedPoints, answer: Answer, path: Path) -> bool:
    """Draws every objective over the only axis, beside the paper's curve, or over the first two axes."""
    if not points.done:
        return False
    objectives = points.request.objectives
    papers = [answer.paper_curve(o) for o in objectives]
    columns = 1 + any(papers)
    size = 5.0 if columns == 1 else WIDTH, 2.9 * len(objectives)
    drawing, axes = figure(*size, nrows=len(objectives), ncols=columns, squeeze=False)
    for line, o, curve in zip(axes, objectives, papers, strict=True):
        if len(points.axes) > 1:
            _over_two(line[0], points, o)
            continue
        _over_axis(line[0], points, o.metric, lambda point, o=o: point.objective_values(o), dots=True)  # type: ignore[misc]
        title(line[0], f"{title_of(o)}, ours" if curve else title_of(o))
        for axis in line[1:]:
            if not curve:
                axis.remove()
                continue
            axis.plot(list(curve), list(curve.values()), color=COLOURS[0], marker="o", linewidth=1.6)
            title(axis, answer.paper_title(o))
            axis.set_xlabel(points.axes[0].name)
            axis.set_xlim(line[0].get_xlim())
            axis.grid(alpha=0.3)
    if len(points.by_row) > 1:
        legend(drawing, list(points.by_row))
    save(drawing, path)
    return True


def latents(points: TriedPoints, path: Path) -> bool:
    """Draws the information in the latents at the end of training over the only axis, one line per row.

    The panels are KL with that of the best linear-Gaussian model, active units, and both shares of information, as far
    as they were measured.
    """
    if not points.done or len(points.axes) > 1:
        return False
    shown = [name for name in OF_LATENTS if any(_values(point, name) for point in points.done)]
    if not shown:
        return False
    drawing, axes = panels(len(shown), 2.7, most=2)
    for axis, name in zip(axes, shown, strict=True):
        if name == "kl":
            _reference(axis, points)
        _over_axis(axis, points, name, lambda point, name=name: _values(point, name))  # type: ignore[misc]
        low, high = quantities.bounds(name)
        if axis.get_yscale() == "linear":
            axis.set_ylim(low, ABOVE * (high if math.isfinite(high) else axis.dataLim.y1 or 1.0))
        unit = quantities.unit(name)
        title(axis, f"{quantities.title(name)}{f' ({unit})' if unit else ''}")
    legend(drawing, [*points.by_row, quantities.title(REFERENCE)])
    save(drawing, path)
    return True


def _values(point: TriedPoint, name: str) -> Sequence[float]:
    """A quantity of the latents of a point, one value per seed."""
    return point.quantities(name) if name in quantities.DERIVED else point.metric_values(name)


def _reference(axis: Axes, points: TriedPoints) -> None:
    """Adds the KL of the linear-Gaussian model."""
    found = {p.coordinate: values[0] for p in points.done if (values := p.metric_values(REFERENCE))}
    if found:
        line, name = dict(sorted(found.items())), quantities.title(REFERENCE)
        axis.plot(list(line), list(line.values()), color="grey", linestyle=":", linewidth=1.6, label=name, zorder=3)


def _over_axis(
    axis: Axes,
    points: TriedPoints,
    name: str,
    values_of: Callable[[TriedPoint], Sequence[float]],
    dots: bool = False,
) -> None:
    """Draws means of a quantity over seeds with their intervals, one line per row; with `dots` one for each seed.

    Intervals end at the bounds of the quantity. Its axis may be logarithmic if it has no upper bound.
    """
    looks = styles({row.name: row.variant for row in points.request.chosen_rows()})
    low, high = quantities.bounds(name)
    shown = [value for point in points.done for value in values_of(point)]
    for number, (row, of_row) in enumerate(points.by_row.items()):
        aside = _aside(points, number)
        measured = [(aside(point.coordinate), values) for point in of_row if (values := values_of(point))]
        x, means = [at for at, _ in measured], np.array([np.mean(values) for _, values in measured])
        halves = np.array([intervals.half_width(values) or 0.0 for _, values in measured])
        arms = np.minimum(halves, means - low), np.minimum(halves, high - means)
        style = looks[row]
        axis.errorbar(
            x, means, yerr=np.maximum(arms, 0.0), marker=style.marker, markersize=5, capsize=3, label=row, **style.line
        )
        for at, values in measured if dots else ():
            axis.plot(
                [at] * len(values),
                values,
                ".",
                zorder=3,
                color=style.colour,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
    if points.axes[0].log:
        axis.set_xscale("log")
        plain(axis.xaxis, sorted({point.coordinate for point in points.done}))
    if shown and math.isinf(high):
        fit(axis.yaxis, shown, quantities.grain(name, points.results))
    axis.set_xlabel(points.axes[0].name)
    axis.grid(alpha=0.3)


def _aside(points: TriedPoints, number: int) -> Callable[[float], float]:
    """Moves the points of a row aside, so that intervals of several rows stand beside each other."""
    places = [point.coordinate for point in points.done]
    low, high = min(places), max(places)
    share = ASIDE * (number - (len(points.by_row) - 1) / 2)
    if points.axes[0].log:
        return lambda place: place * (high / low) ** share
    return lambda place: place + (high - low) * share


def _over_two(axis: Axes, points: TriedPoints, o: Objective) -> None:
    """Draws the first two axes with the objective in colour, a ring around the best point, and a marker per row."""
    first, second = points.axes[:2]
    means = [point.mean(o) for point in points.done]
    norm = norm_of(means, _grain(o))
    for number, (row, of_row) in enumerate(points.by_row.items()):
        x, y = np.array([[value for _, value in point.location.values[:2]] for point in of_row]).T
        colours = [point.mean(o) for point in of_row]
        scatter = axis.scatter(x, y, c=colours, norm=norm, marker=MARKERS[number], label=row)
    (_, best_x), (_, best_y), *_ = points.best(o, points.done).location.values
    axis.scatter(best_x, best_y, s=140, facecolors="none", edgecolors=COLOURS[1], linewidths=1.6)
    colour_bar(scatter, [axis], title_of(o))
    for log, set_scale in ((first.log, axis.set_xscale), (second.log, axis.set_yscale)):
        if log:
            set_scale("log")
    for log, of in ((first.log, axis.xaxis), (second.log, axis.yaxis)):
        if log:
            plain(of)
    axis.set_xlabel(first.name)
    axis.set_ylabel(second.name)
    title(axis, f"{title_of(o)}, means; ring: the best point")


def title_of(o: Objective) -> str:
    """The title and unit of an objective."""
    unit = plugins.load("harness.evaluation.metrics", o.metric, "metric").unit
    return f"{o.title}{f' ({unit})' if unit else ''}"


def _grain(o: Objective) -> float:
    """The smallest step in which an objective is told."""
    return float(10.0 ** -digits_of(o.metric))


def of_search(study: optuna.Study, objectives: Sequence[Objective], folder: Path) -> dict[str, bool]:
    """Draws the search: history and, for several parameters, importances and slices; the front of several objectives.

    A grid has the front alone: its order says nothing, and the figures above have all of its points.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    drawn = dict.fromkeys(("history", "importances", "slices", "front"), False)
    if not done:
        return drawn
    gridded = all("fixed_params" in t.system_attrs for t in done)
    names = sorted({name for t in done for name in t.params})
    if not gridded:
        drawn["history"] = _history(done, objectives[0], folder / "history.png")
    if not gridded and len(names) > 1 and len(done) > 3:
        drawn["slices"] = _slices(done, names, objectives[0], folder / "slices.png")
        if len({t.values[0] for t in done}) > 1:
            drawn["importances"] = _importances(study, objectives[0], folder / "importances.png")
    if len(objectives) > 1:
        drawn["front"] = _front(study, done, objectives, folder / "front.png")
    return drawn


def _history(done: Sequence[FrozenTrial], first: Objective, path: Path) -> bool:
    """The first objective by trial, and the best one so far."""
    drawing, axis = figure(5.0, 2.7)
    numbers, values = [t.number for t in done], np.array([t.values[0] for t in done])
    best = np.minimum.accumulate(values) if first.better == "lower" else np.maximum.accumulate(values)
    axis.scatter(numbers, values, color=COLOURS[4], s=18, label="trial")
    axis.step(numbers, best, where="post", color=COLOURS[1], linewidth=1.6, label="best so far")
    whole(axis.xaxis)
    axis.set_xlabel("trial")
    axis.set_ylabel(title_of(first))
    fit(axis.yaxis, list(values), _grain(first))
    axis.grid(alpha=0.3)
    legend(drawing)
    save(drawing, path)
    return True


def _slices(done: Sequence[FrozenTrial], names: Sequence[str], first: Objective, path: Path) -> bool:
    """The first objective over each parameter; later trials are lighter."""
    drawing, axes = panels(len(names), 2.2)
    for axis, name in zip(axes, names, strict=True):
        of_name = [t for t in done if name in t.params]
        x, y = [t.params[name] for t in of_name], [t.values[0] for t in of_name]
        dots = axis.scatter(x, y, c=[t.number for t in of_name], cmap="viridis", s=18)
        if getattr(of_name[0].distributions[name], "log", False):
            axis.set_xscale("log")
            plain(axis.xaxis)
        axis.set_xlabel(name)
        axis.set_ylabel(title_of(first))
        fit(axis.yaxis, y, _grain(first))
        axis.grid(alpha=0.3)
    drawing.colorbar(dots, ax=axes, label="trial")
    save(drawing, path)
    return True


def _importances(study: optuna.Study, first: Objective, path: Path) -> bool:
    """The share of each parameter in the variance of the first objective, by fANOVA."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    several = len(study.directions) > 1
    target = (lambda t: float(t.values[0])) if several else None
    # The default evaluator uses only the best tenth.
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), target=target)
    drawing, axis = figure(5.0, 0.8 + 0.3 * len(shares))
    axis.barh(list(shares), list(shares.values()), color=COLOURS[4])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel(f"importance for {first.title}")
    axis.grid(alpha=0.3, axis="x")
    save(drawing, path)
    return True


def _front(study: optuna.Study, done: Sequence[FrozenTrial], objectives: Sequence[Objective], path: Path) -> bool:
    """Every pair of objectives, with the trials that no other one beats in all of them."""
    pairs = list(itertools.combinations(range(len(objectives)), 2))
    drawing, axes = panels(len(pairs), 2.5)
    front = {t.number for t in study.best_trials}
    for axis, (i, j) in zip(axes, pairs, strict=True):
        for name, colour, inside in (("other trials", COLOURS[3], False), ("Pareto front", COLOURS[1], True)):
            of_name = [t.values for t in done if (t.number in front) == inside]
            if of_name:
                axis.scatter([v[i] for v in of_name], [v[j] for v in of_name], color=colour, s=24, label=name)
        axis.set_xlabel(title_of(objectives[i]))
        axis.set_ylabel(title_of(objectives[j]))
        for of, k in ((axis.xaxis, i), (axis.yaxis, j)):
            fit(of, [t.values[k] for t in done], _grain(objectives[k]))
        axis.grid(alpha=0.3)
    legend(drawing)
    save(drawing, path)
    return True
