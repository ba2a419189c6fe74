"""Judges the claims of a paper on the results of a study: each holds, does not hold, or is undecided."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

import pandas as pd

from harness.experiments.claims import AlmostEqual, Best, Claim, Correlated, Difference, Faster, Level, Wider
from harness.experiments.fields import flat
from harness.experiments.objectives import OBJECTIVES
from reports.claims import quantities
from reports.results import Result, rows_of
from reports.statistics import intervals
from reports.statistics.bootstrap import optimum, rank_correlation_interval
from reports.statistics.intervals import Interval

PUBLISHED_AS = {"rfd": "rfid", "psnr": "psnr", "ssim": "ssim", "gfd": "gfid", "classifier_score": "is"}
ALIKE = "; all seeds have the same value: no interval for fewer than six"
SEEDS_OF_A_COUNT = 3  # at least, for a verdict on a number of values

Published = Mapping[str, Mapping[str, str]]
Verdict = Literal["holds", "does not hold", "undecided", "no data"]


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, with texts on the effect `here` and in the `paper`.

    `p` is the two-sided p value of no effect, if the verdict is based on that test. `after_holm` is the verdict when
    all tests of the study count as one family. `n` is the number of seeds, or of rows for a rank correlation.
    """

    claim: Claim
    verdict: Verdict
    here: str
    paper: str = "–"
    n: int = 0
    p: float | None = None
    after_holm: Verdict | None = None


def judge_all(claims: Sequence[Claim], results: Sequence[Result], published: Published) -> list[Judgement]:
    """The judgements of all claims of a study on its results, also as one family by Holm."""
    judgements = [judge(claim, results, published) for claim in claims]
    adjusted = intervals.holm([judgement.p for judgement in judgements])
    return [_after_holm(judgement, p) for judgement, p in zip(judgements, adjusted, strict=True)]


def _after_holm(judgement: Judgement, p: float | None) -> Judgement:
    significant = p is None or p <= intervals.LEVEL
    verdict: Verdict = judgement.verdict if significant or judgement.verdict == "no data" else "undecided"
    return dataclasses.replace(judgement, after_holm=verdict)


@singledispatch
def judge(claim: Claim, results: Sequence[Result], published: Published) -> Judgement:
    """The judgement of one claim."""
    raise TypeError(f"no judge for claims of type {type(claim).__name__}")


@judge.register
def _(claim: Difference, results: Sequence[Result], published: Published) -> Judgement:
    pairs = _pairs(claim, results)
    if not pairs:
        return _no_data(claim, results, (claim.row, claim.than), published)
    interval = intervals.paired([a - b for a, b in pairs])
    return _of_pairs(claim, pairs, results, published, intervals.verdict(interval, claim.side), interval)


@judge.register
def _(claim: AlmostEqual, results: Sequence[Result], published: Published) -> Judgement:
    pairs = _pairs(claim, results)
    if not pairs:
        return _no_data(claim, results, (claim.row, claim.than), published)
    interval = intervals.paired([a - b for a, b in pairs])
    margin = claim.margin * abs(_mean([b for _, b in pairs]))
    verdict: Verdict = intervals.verdict(interval, 0, margin) if margin else "undecided"
    margin_text = f"; margin {claim.margin:.1%}: {claim.because}"
    return _of_pairs(claim, pairs, results, published, verdict, interval, margin_text)


def _of_pairs(
    claim: Difference | AlmostEqual,
    pairs: list[tuple[float, float]],
    results: Sequence[Result],
    published: Published,
    verdict: Verdict,
    interval: Interval | None,
    margin_text: str = "",
) -> Judgement:
    """The judgement on the difference of two rows, paired by seed."""
    differences, than = [a - b for a, b in pairs], _mean([b for _, b in pairs])
    digits = quantities.digits(claim.quantity, results)
    here = f"{quantities.title(claim.quantity)} {intervals.shown(differences, digits, sign=True)}"
    if than and claim.quantity not in quantities.DERIVED:
        here += f" ({_mean(differences) / abs(than):+.1%})"
    here += margin_text if margin_text else _detectable(differences, verdict, digits)
    p = interval.p if interval and not margin_text else None
    return Judgement(claim, verdict, here, _paper(claim, results, published), len(pairs), p)


@judge.register
def _(claim: Level, results: Sequence[Result], published: Published) -> Judgement:
    values = list(_by_seed(results, claim.row, claim.quantity).values())
    if not values:
        return _no_data(claim, results, (claim.row,), published)
    differences = [value - claim.threshold for value in values]
    interval, digits = intervals.paired(differences), quantities.digits(claim.quantity, results)
    verdict = intervals.verdict(interval, claim.side)
    sign = ">" if claim.side > 0 else "<"
    here = f"{quantities.title(claim.quantity)} {intervals.shown(values, digits)}, claimed {sign} {claim.threshold:g}"
    here += _detectable(differences, verdict, digits)
    return Judgement(claim, verdict, here, "–", len(values), interval.p if interval else None)


@judge.register
def _(claim: Correlated, results: Sequence[Result], published: Published) -> Judgement:
    rows = []
    for name in rows_of(results):
        one, other = (_by_seed(results, name, quantity) for quantity in (claim.one, claim.other))
        if pairs := [(one[seed], other[seed]) for seed in one if seed in other]:
            rows.append(pairs)
    interval = rank_correlation_interval(rows)
    paper = intervals.rank_correlation(claim.paper)
    paper_text = f"{paper:+.2f} over {len(claim.paper)} points of the figure" if paper is not None else "–"
    if interval is None:
        return Judgement(claim, "no data", "fewer than three rows, or no differences between them", paper_text)
    here = (
        f"rank correlation of {quantities.title(claim.one)} and {quantities.title(claim.other)} over {len(rows)} rows "
        f"{interval.estimate:+.2f} "
        f"[{interval.low:+.2f}, {interval.high:+.2f}] ({interval.method})"
    )
    return Judgement(claim, intervals.verdict(interval, claim.side), here, paper_text, len(rows), interval.p)


@judge.register
def _(claim: Faster, results: Sequence[Result], published: Published) -> Judgement:
    rows = rows_of(results)
    others = {r.experiment.seed: r for r in rows.get(claim.than, [])}
    pairs = [(r, others[r.experiment.seed]) for r in rows.get(claim.row, []) if r.experiment.seed in others]
    curves = [tuple(r.points("gfd", "generator_snapshots") for r in pair) for pair in pairs]
    ratios = [speed_up(one, other) for one, other in curves if _measured(one) and _measured(other)]
    gains = [math.log(ratio) for ratio, _ in ratios]
    paper = f"{claim.factor:g} times"
    if not gains:
        return _no_data(claim, results, (claim.row, claim.than), published, paper)
    interval = intervals.paired(gains)
    here = f"{math.exp(_mean(gains)):.2f} times as fast"
    if interval is not None:
        here += f" [{math.exp(interval.low):.2f}, {math.exp(interval.high):.2f}]"
    elif len(gains) > 1:
        here += ALIKE
    for bound, many in (
        ("at least", sum(e and r > 1 for r, e in ratios)),
        ("at most", sum(e and r <= 1 for r, e in ratios)),
    ):
        if many:
            here += f"; {bound} that in {many} of {len(gains)} seeds, where the first kept point is good enough"
    return Judgement(claim, intervals.verdict(interval, +1), here, paper, len(gains), interval.p if interval else None)


@judge.register
def _(claim: Best, results: Sequence[Result], published: Published) -> Judgement:
    """Holds if no other value can be the best, does not hold if the claimed value cannot."""
    objective, paper = OBJECTIVES[claim.objective], f"{claim.at:g}"
    groups: dict[float, list[float]] = {}
    for result in results:
        at = flat(result.experiment)[claim.field]
        record = result.value(objective.metric, objective.split(result.experiment), objective.stage)
        if at in claim.among and record is not None and math.isfinite(record.value):
            groups.setdefault(float(str(at)), []).append(record.value)
    missing = sorted(set(claim.among) - set(groups))
    if missing:
        return Judgement(claim, "no data", f"not measured by {objective.title}: {listed(missing)}", paper)
    groups, title = dict(sorted(groups.items())), objective.title
    seeds = min(map(len, groups.values()))
    best = objective.best(groups, key=lambda at: _mean(groups[at]))
    best_values = optimum(groups, objective.better)
    if best_values is None:
        reason = "one seed" if seeds == 1 else "seeds that do not differ"
        return Judgement(claim, "undecided", f"{title} is best at {best:g}; {reason}: no interval", paper, seeds)
    here = f"{title} is best at {best:g}; the truth may be at {listed(best_values.candidates)} ({best_values.method})"
    verdict: Verdict = "undecided" if claim.at in best_values.candidates else "does not hold"
    return Judgement(claim, "holds" if best_values.candidates == (claim.at,) else verdict, here, paper, seeds)


@judge.register
def _(claim: Wider, results: Sequence[Result], published: Published) -> Judgement:
    """Counts of a few values have no t distribution: all seeds have to agree, on the values that both rows have."""
    active: dict[str, dict[int, dict[object, bool]]] = {claim.row: {}, claim.than: {}}
    for r in results:
        row = r.row.name.partition(",")[0]
        if row in active and r.done("tokenizer"):
            active[row].setdefault(r.experiment.seed, {})[flat(r.experiment)[claim.field]] = r.status == "active"
    for row, of_row in active.items():
        if not of_row:
            return Judgement(claim, "no data", f"{row} did not run")
    one, other = active.values()
    both = {seed: one[seed].keys() & other[seed].keys() for seed in sorted(one.keys() & other.keys())}
    both = {seed: values for seed, values in both.items() if values}
    if not both:
        return Judgement(claim, "no data", "no value with results of both rows")
    counts = {row: [sum(of[seed][v] for v in values) for seed, values in both.items()] for row, of in active.items()}
    gains = [a - b for a, b in zip(*counts.values(), strict=True)]
    totals = listed(list(dict.fromkeys(map(len, both.values()))))
    text = " and ".join(f"{row} is active at {listed(count)} of {totals} values" for row, count in counts.items())
    verdict: Verdict = "undecided"
    if len(both) >= SEEDS_OF_A_COUNT:
        verdict = "holds" if min(gains) > 0 else "does not hold" if max(gains) <= 0 else "undecided"
    needed = "all seeds have to agree" if len(both) > 1 else "at least three seeds are needed"
    return Judgement(claim, verdict, f"{text}; {needed}", "–", len(both))


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


def _by_seed(results: Sequence[Result], row: str, name: str) -> dict[int, float]:
    of_row = (r for r in results if r.row.name == row)
    return {r.experiment.seed: value for r in of_row if (value := quantities.quantity(r, name)) is not None}


def _pairs(claim: Difference | AlmostEqual, results: Sequence[Result]) -> list[tuple[float, float]]:
    """The quantity of both rows, one pair per seed that they share."""
    row, than = (_by_seed(results, name, claim.quantity) for name in (claim.row, claim.than))
    return [(row[seed], than[seed]) for seed in row if seed in than]


def _no_data(
    claim: Claim, results: Sequence[Result], rows: tuple[str, ...], published: Published, paper: str | None = None
) -> Judgement:
    """A judgement without data, with the reason."""
    known = rows_of(results)
    missing = [name for name in rows if name not in known]
    reason = f"no row {' or '.join(map(repr, missing))} here" if missing else "did not run"
    if paper is None:
        paper = _paper(claim, results, published) if isinstance(claim, Difference | AlmostEqual) else "–"
    return Judgement(claim, "no data", reason, paper)


def _paper(claim: Difference | AlmostEqual, results: Sequence[Result], published: Published) -> str:
    """The difference between the numbers in the paper."""
    column = PUBLISHED_AS.get(claim.quantity, "")
    names = {name: seeds[0].row.published for name, seeds in rows_of(results).items()}
    row, than = (published.get(names.get(name) or name, {}).get(column) for name in (claim.row, claim.than))
    if not row or not than:
        return "–"
    return f"{float(row) - float(than):+.3g} ({float(row) / float(than) - 1:+.1%})"


def _detectable(differences: Sequence[float], verdict: str, digits: int) -> str:
    """The smallest effect that an undecided study would have detected, as text."""
    if verdict != "undecided":
        return ""
    least = intervals.smallest_detectable(differences)
    if least is None:
        return ALIKE if len(differences) > 1 else ""
    return f"; detectable: {least:.{digits}f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def listed(values: Sequence[float]) -> str:
    """Numbers as text, separated by commas."""
    return ", ".join(f"{value:.6g}" for value in values)
