"""Judges single claims of a paper on the results of a study: each holds, does not hold, or is undecided.

`reports.claims.verdicts` judges the claims of a study together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

import pandas as pd

from harness.evaluation.records import number
from harness.experiments.claims import AlmostEqual, Best, Claim, Correlated, Difference, Faster, Level, Wider
from harness.experiments.fields import flat
from harness.experiments.objectives import OBJECTIVES, Objective
from harness.system.texts import alike
from reports.claims import quantities
from reports.results import Result, rows_of, share_training
from reports.statistics import intervals, model
from reports.statistics.bootstrap import optimum, rank_correlation_interval
from reports.statistics.intervals import LEVEL
from reports.statistics.model import Effect

PUBLISHED_AS = {"rfd": "rfid", "psnr": "psnr", "ssim": "ssim", "gfd": "gfid", "classifier_score": "is"}
DECIDED = ("holds", "does not hold")

Published = Mapping[str, Mapping[str, str]]
Verdict = Literal["holds", "does not hold", "undecided", "no data", "premise not met", "not measurable here"]


@dataclass(frozen=True)
class Judgement:
    """What a claim comes to by itself, with texts on the effect `here` and in the `paper`.

    `p` is the two-sided p value of the verdict, None without a test. `n` is the number of seeds,
    or of rows for a rank correlation. `effect` is what was tested, told with `digits` decimals, and `most` the largest
    effect that is possible; `published` is the paper's effect in the same unit.
    """

    claim: Claim
    verdict: Verdict
    here: str
    paper: str = "–"
    n: int = 0
    p: float | None = None
    effect: Effect | None = None
    digits: int = 0
    published: float | None = None
    most: float = math.inf

    @property
    def decided(self) -> bool:
        """Whether it holds or does not hold."""
        return self.verdict in DECIDED


@singledispatch
def judge(claim: Claim, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    """The judgement of one claim by itself, with a test at `level`."""
    raise TypeError(f"no judge for claims of type {type(claim).__name__}")


@judge.register
def _(claim: Difference, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    return _of_pair(claim, results, published, level, claim.side)


@judge.register
def _(claim: AlmostEqual, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    than = quantities.values(results, claim.quantity).get(claim.than)
    margin = claim.margin * abs(_mean(list(than.values()))) if than else 0.0
    return _of_pair(claim, results, published, level, 0, margin, f"; margin {claim.margin:.1%}: {claim.because}")


def _of_pair(
    claim: Difference | AlmostEqual,
    results: Sequence[Result],
    published: Published,
    level: float,
    side: int,
    margin: float | None = None,
    margin_text: str = "",
) -> Judgement:
    """The judgement on the difference of two rows, over the seeds that both have."""
    values, name = quantities.values(results, claim.quantity), claim.quantity
    row, than = (values.get(row, {}) for row in (claim.row, claim.than))
    seeds = [seed for seed in row if seed in than]
    paper, published_share = _paper(claim, results, published)
    if not seeds:
        return _no_data(claim, results, (claim.row, claim.than), paper)
    if share_training(results, claim.row, claim.than):  # no other pair of rows is as alike as these
        values = {claim.row: row, claim.than: than}
    effect = model.difference(values, claim.row, claim.than, quantities.grain(name, results))
    mean, base = _mean([row[seed] - than[seed] for seed in seeds]), _mean([than[seed] for seed in seeds])
    digits = quantities.digits(name, results)
    half, most = effect.half_width(level) if effect else None, quantities.farthest(name, results)
    here = f"{quantities.title(name)} {intervals.with_interval(mean, half, digits, (-most, most), sign=True)}"
    if base and name not in quantities.DERIVED:
        here += f" ({mean / abs(base):+.1%})"
    verdict, p = _tested(effect, side, margin, level)
    expected = published_share * abs(base) if published_share is not None and side else None
    if verdict == "undecided" and margin and half is not None and half >= margin:
        margin_text += "; the interval is wider than the margin, so that the claim could not hold"
    return Judgement(claim, verdict, here + margin_text, paper, len(seeds), p, effect, digits, expected, most)


@judge.register
def _(claim: Level, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    values, name = quantities.values(results, claim.quantity), claim.quantity
    own = list(values.get(claim.row, {}).values())
    if not own:
        return _no_data(claim, results, (claim.row,))
    effect, digits = model.level(values, claim.row, quantities.grain(name, results)), quantities.digits(name, results)
    half = effect.half_width(level) if effect else None
    here = f"{quantities.title(name)} {intervals.with_interval(_mean(own), half, digits, quantities.bounds(name))}"
    beyond = sum(claim.side * (value - claim.threshold) > 0 for value in own)
    here += f", claimed {'>' if claim.side > 0 else '<'} {claim.threshold:g}, {_met(beyond, len(own))}"
    above = dataclasses.replace(effect, estimate=effect.estimate - claim.threshold) if effect else None
    verdict, p = _tested(above, claim.side, None, level)
    low, high = quantities.bounds(name)
    most = high - claim.threshold if claim.side > 0 else claim.threshold - low
    return Judgement(claim, verdict, here, "–", len(own), p, above, digits, most=most)


def _met(seeds: int, of: int) -> str:
    """How many of the seeds are as claimed."""
    if of == 1:
        return f"{'met' if seeds else 'not met'} by the only seed"
    return f"met by {seeds or 'none'} of {of} seeds"


@judge.register
def _(claim: Correlated, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    one, other = (quantities.values(results, name) for name in (claim.one, claim.other))
    rows = [[(of[seed], other[name][seed]) for seed in of if seed in other[name]] for name, of in one.items()]
    interval = rank_correlation_interval([pairs for pairs in rows if pairs])
    paper = intervals.rank_correlation(claim.paper)
    paper_text = f"{paper:+.2f} over {len(claim.paper)} points of the figure" if paper is not None else "–"
    if interval is None:
        return Judgement(claim, "no data", "fewer than three rows have both numbers, or they do not differ", paper_text)
    here = (
        f"rank correlation of {quantities.title(claim.one)} and {quantities.title(claim.other)} over {interval.n} rows "
        f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}] ({interval.method})"
    )
    p = interval.p if interval.p is not None else 1.0
    seems: Verdict = "holds" if claim.side * interval.estimate > 0 else "does not hold"
    return Judgement(claim, seems if p <= level else "undecided", here, paper_text, interval.n, p)


@judge.register
def _(claim: Faster, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    curves: dict[str, dict[int, pd.Series]] = {}
    for r in results:
        if _measured(curve := r.points("gfd", "generator_snapshots")):
            curves.setdefault(r.row.name, {})[r.experiment.seed] = curve
    than = curves.get(claim.than, {})
    by_row = {
        name: {seed: speed_up(curve, than[seed]) for seed, curve in of.items() if seed in than}
        for name, of in curves.items()
    }
    ratios, paper = by_row.get(claim.row, {}), f"{claim.factor:g} times"
    if not ratios:
        return _no_data(claim, results, (claim.row, claim.than), paper)
    gains = [math.log(ratio) for ratio, _ in ratios.values()]
    steps = next(iter(curves[claim.row].values())).index
    spacing = math.log(steps[-1] / steps[-2]) if len(steps) > 1 and steps[-2] > 0 else 0.0
    logarithms = {name: {seed: math.log(ratio) for seed, (ratio, _) in of.items()} for name, of in by_row.items()}
    effect = model.difference(logarithms, claim.row, claim.than, spacing)
    here = f"{math.exp(_mean(gains)):.2f} times as fast"
    if effect is not None:
        low, high = (math.exp(_mean(gains) + sign * effect.half_width(level)) for sign in (-1, 1))
        here += f" [{low:.2f}, {high:.2f}]"
    for bound, many in (
        ("at least", sum(e and r > 1 for r, e in ratios.values())),
        ("at most", sum(e and r <= 1 for r, e in ratios.values())),
    ):
        if many:
            here += f"; {bound} that in {many} of {len(gains)} seeds, which reach this gFD at their first point"
    verdict, p = _tested(effect, +1, None, level)
    return Judgement(claim, verdict, here, paper, len(gains), p, effect, 2, math.log(claim.factor))


@judge.register
def _(claim: Best, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    """Holds if no other value can be the best, does not hold if the claimed value cannot."""
    objective, paper = OBJECTIVES[claim.objective], f"{claim.at:g}"
    groups: dict[float, dict[int, float]] = {}
    for result in results:
        at = flat(result.experiment)[claim.field]
        record = result.value(objective.metric, objective.split(result.experiment), objective.stage)
        if at in claim.among and record is not None and math.isfinite(record.value):
            groups.setdefault(float(str(at)), {})[result.experiment.seed] = record.value
    missing = sorted(set(claim.among) - set(groups))
    if missing:
        return Judgement(claim, "no data", f"not measured by {objective.title}: {listed(missing)}", paper)
    groups, title = dict(sorted(groups.items())), objective.title
    seeds = min(map(len, groups.values()))
    best = _best_values(objective, groups, quantities.digits(objective.metric, results))
    grain = quantities.grain(objective.metric, results)
    best_values = optimum(groups, objective.better, grain)
    if best_values is None:
        reason = "one seed" if seeds == 1 else "seeds that do not differ"
        return Judgement(claim, "undecided", f"{title} is best at {best}; {reason}: no interval", paper, seeds)
    here = f"{title} is best at {best}; the truth may be at {listed(best_values.candidates)} ({best_values.method})"
    verdict: Verdict = "undecided" if claim.at in best_values.candidates else "does not hold"
    side = 1 if objective.better == "higher" else -1
    # The candidates rest on one noise for all values; where they are not equally noisy, each pair has its own.
    by_name = {f"{at:g}": of for at, of in groups.items()}
    alone = best_values.candidates == (claim.at,) and model.ahead(by_name, f"{claim.at:g}", side, grain)
    return Judgement(claim, "holds" if alone else verdict, here, paper, seeds)


@judge.register
def _(claim: Wider, results: Sequence[Result], published: Published, level: float = LEVEL) -> Judgement:
    """On the values that both rows have, by how many of them are active: a count, so known to one value.

    Its noise is that of the two rows alone. A row that is active at every value, or at none, has a count that cannot
    vary: it says nothing of the noise of others.
    """
    active: dict[str, dict[int, dict[object, bool]]] = {claim.row: {}, claim.than: {}}
    for r in results:
        if r.done("tokenizer"):
            of_row = active.setdefault(base_name(r), {})
            of_row.setdefault(r.experiment.seed, {})[flat(r.experiment)[claim.field]] = r.status == "active"
    for row in (claim.row, claim.than):
        if not active[row]:
            return Judgement(claim, "no data", f"no seed of {row} has a result")
    one, other = active[claim.row], active[claim.than]
    both = {seed: one[seed].keys() & other[seed].keys() for seed in sorted(one.keys() & other.keys())}
    both = {seed: values for seed, values in both.items() if values}
    if not both:
        return Judgement(claim, "no data", "no seed has results of both rows at any value")
    counts = {
        row: {
            seed: float(sum(of[seed][v] for v in both[seed])) for seed in both if both[seed] <= of.get(seed, {}).keys()
        }
        for row, of in active.items()
    }
    effect = model.difference({row: counts[row] for row in (claim.row, claim.than)}, claim.row, claim.than, grain=1.0)
    totals = listed(list(dict.fromkeys(map(len, both.values()))))
    text = " and ".join(
        f"{row} is active at {listed(list(counts[row].values()))} of {totals} values" for row in (claim.row, claim.than)
    )
    if effect is not None:
        text += f": {number(effect.estimate, 1, effect.half_width(level), sign=True)} values"
    verdict, p = _tested(effect, +1, None, level)
    return Judgement(claim, verdict, text, "–", len(both), p, effect, 1)


def base_name(result: Result) -> str:
    """The name of a row without the values of a sweep."""
    return result.row.name.partition(",")[0]


def _tested(effect: Effect | None, side: int, margin: float | None, level: float) -> tuple[Verdict, float | None]:
    """The verdict of a test at `level`, and its p value; undecided without an effect or a margin."""
    if effect is None or margin == 0:
        return "undecided", None
    seems, p = effect.tested(side, margin)
    return (seems if p <= level else "undecided"), p


def speed_up(one: pd.Series, other: pd.Series) -> tuple[float, bool]:
    """How many times as fast `one` falls as `other`, and whether the truth may be beyond; both are gFD by step.

    It is the ratio of their steps to the gFD at which the slower one ends, with linear interpolation between steps. It
    is censored if the faster one is there at its first point: where before, nobody knows.
    """
    if one.iloc[-1] <= other.iloc[-1]:
        steps, censored = _reaches(one, other.iloc[-1])
        return float(other.index[-1] / steps), censored
    steps, censored = _reaches(other, one.iloc[-1])
    return float(steps / one.index[-1]), censored


def _measured(curve: pd.Series) -> bool:
    """Whether the curve has values and all are finite."""
    return not curve.empty and all(map(math.isfinite, curve))


def _reaches(curve: pd.Series, value: float) -> tuple[float, bool]:
    """The first step at which a curve falls to `value`, at or above its end, and whether that is its first point."""
    steps, values = curve.index.to_numpy(float), curve.to_numpy(float)
    index = int((values <= value).argmax())
    if index == 0:
        return float(steps[0]), True
    share = (values[index - 1] - value) / (values[index - 1] - values[index])
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1])), False


def _no_data(claim: Claim, results: Sequence[Result], rows: tuple[str, ...], paper: str = "–") -> Judgement:
    """A judgement without data, with the reason."""
    known = rows_of(results)
    missing = [name for name in rows if name not in known]
    of = "a result" if len(rows) == 1 else "results of both rows"
    reason = f"no row {' or '.join(map(repr, missing))} here" if missing else f"no seed has {of}"
    return Judgement(claim, "no data", reason, paper)


def _paper(
    claim: Difference | AlmostEqual, results: Sequence[Result], published: Published
) -> tuple[str, float | None]:
    """The difference between the numbers in the paper, as text and as a share."""
    column = PUBLISHED_AS.get(claim.quantity, "")
    names = {name: seeds[0].row.published for name, seeds in rows_of(results).items()}
    row, than = (published.get(names.get(name) or name, {}).get(column) for name in (claim.row, claim.than))
    if not row or not than:
        return "–", None
    share = float(row) / float(than) - 1
    return f"{float(row) - float(than):+.3g} ({share:+.1%})", share


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _best_values(objective: Objective, groups: Mapping[float, Mapping[int, float]], digits: int) -> str:
    """The values whose mean is the best as it is printed."""
    means = {at: _mean(list(of.values())) for at, of in groups.items()}
    best = number(objective.best(means.values()), digits)
    return alike([f"{at:g}" for at, mean in means.items() if number(mean, digits) == best])


def listed(values: Sequence[float]) -> str:
    """Numbers as text, separated by commas."""
    return ", ".join(f"{value:.6g}" for value in values)
