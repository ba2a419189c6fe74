"""Training curves of the page of an ablation."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.evaluation import records
from reports.figures import legend, panels, save, title
from reports.results import Result, protocol_of
from reports.styles import by_step, draw_seeds, merged, styles_of

CURVES = {
    "val/kl": "KL (nats per image)",
    "mutual_information": "mutual information, lower bound (nats)",
    "gaussian_rate": "mutual information, upper bound (nats)",
    "val/active_units": "active units (%)",
    "effective_rank": "effective rank",
    "probe": "linear probe (%)",
    "val/shuffled_error": "shuffled-latent error",
    "val/error": "squared error",
    "rfd": "",  # its title names the network
}
FROM_ZERO = ("val/kl", "mutual_information", "gaussian_rate")
SATURATED = 0.95  # of log N, which the estimate of the mutual information cannot exceed
LINE = 0.015  # the width of a line, as a share of the height of a panel
LETTERS = 22  # of the name of a row in a title
Curves = Callable[[Result], pd.Series]


def curves(results: Sequence[Result], path: Path) -> bool:
    """Draws diagnostics over the tokenizer's training, one line per row; False if there is nothing to draw.

    The mutual information is left out where the number of images bounds it.
    """
    wanted: dict[str, Curves] = {}
    for metric, heading in CURVES.items():
        if metric == "mutual_information" and _saturates(results):
            continue
        scale = 100 if metric == "val/active_units" else 1
        wanted[heading or _title(metric, results, "val", "snapshots")] = lambda r, m=metric, s=scale: s * r.curve(m)  # type: ignore[misc]
    bottoms = {CURVES[metric] for metric in FROM_ZERO}
    return _draw(results, wanted, "snapshots", "training step", path, from_zero=bottoms)


def generator_curves(results: Sequence[Result], path: Path) -> bool:
    """Draws gFD and the error of the velocity over the generator's training, one line per row."""
    gfd = _title("gfd", results, "samples", "generator_snapshots")
    wanted: dict[str, Curves] = {
        f"{gfd}, without guidance": lambda r: r.points("gfd", "generator_snapshots"),
        "squared error of the velocity on val": lambda r: r.curves_of("generator").get("val/velocity", pd.Series()),
    }
    return _draw(results, wanted, "generator_snapshots", "training step of the generator", path)


def _draw(
    results: Sequence[Result],
    wanted: dict[str, Curves],
    stage: str,
    steps: str,
    path: Path,
    from_zero: set[str] = frozenset(),  # type: ignore[assignment]
) -> bool:
    """Draws the panels that have anything to show, each with the differences that it hides, and one legend below."""
    rows, looks = merged(results, stage), styles_of(results)
    shown: list[tuple[str, Curves]] = []
    for heading, of in wanted.items():
        if any(not of(r).dropna().empty for seeds in rows.values() for r in seeds):
            shown += [(heading, of), *_differences(rows, heading, of)]
    if not shown:
        return False
    drawing, axes = panels(len(shown), 1.9)
    for axis, (heading, of) in zip(axes, shown, strict=True):
        for name, seeds in rows.items():
            draw_seeds(axis, [of(r) for r in seeds], looks[seeds[0].row.name], name)
        title(axis, heading)
        axis.set_xlabel(steps)
        axis.grid(alpha=0.3)
        if heading in from_zero:
            axis.set_ylim(bottom=0)
    legend(drawing, list(rows))
    save(drawing, path)
    return True


def _differences(rows: Mapping[str, list[Result]], heading: str, of: Curves) -> list[tuple[str, Curves]]:
    """A panel for every group of rows whose lines lie on each other, minus the first of the group, seed by seed."""
    found = []
    for first, *others in _groups(rows, of):
        bases = {r.experiment.seed: of(r) for r in rows[first]}
        name = textwrap.shorten(first, LETTERS, placeholder=" ...")
        members = {r.row.name for row in (first, *others) for r in rows[row]}
        found.append((f'{heading},\nminus that of "{name}"', _minus(of, bases, members)))
    return found


def _groups(rows: Mapping[str, list[Result]], of: Curves) -> list[list[str]]:
    """The rows whose lines lie on each other over more than half of the training, in groups."""
    frames = {name: by_step([of(r) for r in seeds]) for name, seeds in rows.items()}
    means = {name: frame.mean(axis=1) for name, frame in frames.items() if not frame.empty}
    height = max(mean.max() for mean in means.values()) - min(mean.min() for mean in means.values())
    groups: list[list[str]] = []
    for name, mean in means.items():
        near = [group for group in groups if any(_hidden(mean, means[member], height) for member in group)]
        groups = [group for group in groups if group not in near] + [[*itertools.chain(*near), name]]
    return [group for group in groups if len(group) > 1]


def _hidden(one: pd.Series, other: pd.Series, height: float) -> bool:
    """Whether a curve lies on another over most of the longer one, in a panel of this height, but differs from it."""
    apart = (one - other).abs().dropna()
    near = (apart < LINE * height).sum()
    return bool(not apart.empty and apart.max() > 0 and 2 * near > max(len(one), len(other)))


def _minus(of: Curves, bases: Mapping[int, pd.Series], rows: set[str]) -> Curves:
    """The curves of `rows` minus a base, by seed; other rows and seeds have none."""

    def difference(r: Result) -> pd.Series:
        base = bases.get(r.experiment.seed)
        return of(r) - base if r.row.name in rows and base is not None else pd.Series(dtype=float)

    return difference


def _saturates(results: Sequence[Result]) -> bool:
    """Whether every estimate of the mutual information ends near its bound."""
    ends = [(v.value, math.log(v.n)) for r in results if (v := r.value("mutual_information", stage="snapshots"))]
    return bool(ends) and all(value > SATURATED * bound for value, bound in ends)


def _title(metric: str, results: Sequence[Result], split: str, stage: str) -> str:
    return records.full_title(metric, protocol_of(results, metric, split, stage))
