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
    shown: dict[str, Curves] = {}
    for heading, of in wanted.items():
        if any(not of(r).dropna().empty for seeds in rows.values() for r in seeds):
            shown |= {heading: of, **_differences(rows, reference(results), heading, of)}
    if not shown:
        return False
    drawing, axes = panels(len(shown), 1.9)
    for axis, (heading, of) in zip(axes, shown.items(), strict=True):
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


def reference(results: Sequence[Result]) -> str:
    """The name of the row that all others are compared with: the first with a KL, or else the first."""
    with_kl = (r.row.name for r in results if r.experiment.tokenizer.gaussian.on)
    return next(with_kl, results[0].row.name if results else "")


def _differences(rows: Mapping[str, list[Result]], first: str, heading: str, of: Curves) -> dict[str, Curves]:
    """A panel with the rows whose lines lie on others, minus the row `first`, seed by seed; empty if none does."""
    frames = {name: by_step([of(r) for r in seeds]) for name, seeds in rows.items()}
    means = {name: frame.mean(axis=1) for name, frame in frames.items() if not frame.empty}
    height = max(mean.max() for mean in means.values()) - min(mean.min() for mean in means.values())
    hidden = {
        member
        for name, other in itertools.combinations(means, 2)
        if 0 < (means[name] - means[other]).abs().max() < LINE * height
        for member in (name, other)
    }
    firsts = {r.experiment.seed: of(r) for r in itertools.chain(*rows.values()) if r.row.name == first}
    if not hidden or all(curve.dropna().empty for curve in firsts.values()):
        return {}
    shown = {r.row.name for name in hidden for r in rows[name]} | {first}
    return {
        f'{heading},\nminus that of "{textwrap.shorten(first, LETTERS, placeholder=" ...")}"': _minus(of, firsts, shown)
    }


def _minus(of: Curves, firsts: Mapping[int, pd.Series], rows: set[str]) -> Curves:
    """The curves of `rows` minus those of the reference, by seed; other rows and seeds have none."""

    def difference(r: Result) -> pd.Series:
        base = firsts.get(r.experiment.seed)
        return of(r) - base if r.row.name in rows and base is not None else pd.Series(dtype=float)

    return difference


def _saturates(results: Sequence[Result]) -> bool:
    """Whether every estimate of the mutual information ends near its bound."""
    ends = [(v.value, math.log(v.n)) for r in results if (v := r.value("mutual_information", stage="snapshots"))]
    return bool(ends) and all(value > SATURATED * bound for value, bound in ends)


def _title(metric: str, results: Sequence[Result], split: str, stage: str) -> str:
    return records.full_title(metric, protocol_of(results, metric, split, stage))
