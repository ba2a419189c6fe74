"""The judge: whether what a paper claims holds for the results of a study, undecided where they cannot tell."""

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
ALIKE = "; all seeds alike: of fewer than six no interval"
SEEDS_OF_A_COUNT = 3  # before anything is said of how many values

Published = Mapping[str, Mapping[str, str]]
Verdict = Literal["holds", "does not hold", "undecided", "no data"]


@dataclass(frozen=True)
class Judgement:
    """What became of a claim: the verdict, the effect `here` and the one of the `paper`, in words.

    `p` is of no effect, two-sided, where the verdict rests on a test of that; `after_holm` the verdict once all such
    tests of the study are taken together. `n` counts seeds, or rows for a rank correlation.
    """

    claim: Claim
    verdict: Verdict
    here: str
    paper: str = "–"
    n: int = 0
    p: float | None = None
    after_holm: Verdict | None = None


def judged(claims: Sequence[Claim], results: Sequence[Result], published: Published) -> list[Judgement]:
    """The claims of a study, judged on its results, and all together by Holm."""
    found = [judge(claim, results, published) for claim in claims]
    adjusted = intervals.holm([judgement.p for judgement in found])
    return [_after_holm(judgement, p) for judgement, p in zip(found, adjusted, strict=True)]


def _after_holm(judgement: Judgement, p: float | None) -> Judgement:
    clear = p is None or p <= intervals.LEVEL
    verdict: Verdict = judgement.verdict if clear or judgement.verdict == "no data" else "undecided"
    return dataclasses.replace(judgement, after_holm=verdict)


@singledispatch
def judge(claim: Claim, results: Sequence[Result], published: Published) -> Judgement:
    """The judgement of one claim."""
    raise TypeError(f"nobody judges {claim!r}")


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
    told = f"; margin {claim.margin:.1%}: {claim.because}"
    return _of_pairs(claim, pairs, results, published, verdict, interval, told)


def _of_pairs(
    claim: Difference | AlmostEqual,
    pairs: list[tuple[float, float]],
    results: Sequence[Result],
    published: Published,
    verdict: Verdict,
    interval: Interval | None,
    margin: str = "",
) -> Judgement:
    """The judgement of row minus another, paired by seed."""
    differences, than = [a - b for a, b in pairs], _mean([b for _, b in pairs])
    digits = quantities.digits(claim.quantity, results)
    here = f"{quantities.title(claim.quantity)} {intervals.shown(differences, digits, sign=True)}"
    if than and claim.quantity not in quantities.DERIVED:
        here += f" ({_mean(differences) / abs(than):+.1%})"
    here += margin if margin else _could(differences, verdict, digits)
    p = interval.p if interval and not margin else None
    return Judgement(claim, verdict, here, _paper(claim, results, published), len(pairs), p)


@judge.register
def _(claim: Level, results: Sequence[Result], published: Published) -> Judgement:
    values = list(_by_seed(results, claim.row, claim.quantity).values())
    if not values:
        return _no_data(claim, results, (claim.row,), published)
    apart = [value - claim.threshold for value in values]
    interval, digits = intervals.paired(apart), quantities.digits(claim.quantity, results)
    verdict = intervals.verdict(interval, claim.side)
    sign = ">" if claim.side > 0 else "<"
    here = f"{quantities.title(claim.quantity)} {intervals.shown(values, digits)}, claimed {sign} {claim.threshold:g}"
    return Judgement(
        claim, verdict, here + _could(apart, verdict, digits), "–", len(values), interval.p if interval else None
    )


@judge.register
def _(claim: Correlated, results: Sequence[Result], published: Published) -> Judgement:
    rows = []
    for name in rows_of(results):
        one, other = (_by_seed(results, name, quantity) for quantity in (claim.one, claim.other))
        if pairs := [(one[seed], other[seed]) for seed in one if seed in other]:
            rows.append(pairs)
    interval = rank_correlation_interval(rows)
    paper = intervals.rank_correlation(claim.paper)
    told = f"{paper:+.2f} over {len(claim.paper)} points of the figure" if paper is not None else "–"
    if interval is None:
        return Judgement(claim, "no data", "fewer than three rows, or all alike", told)
    here = (
        f"rank correlation of {quantities.title(claim.one)} and {quantities.title(claim.other)} over {len(rows)} rows "
        f"{interval.estimate:+.2f} "
        f"[{interval.low:+.2f}, {interval.high:+.2f}] ({interval.method})"
    )
    return Judgement(claim, intervals.verdict(interval, claim.side), here, told, len(rows), interval.p)


@judge.register
def _(claim: Faster, results: Sequence[Result], published: Published) -> Judgement:
    rows = rows_of(results)
    others = {r.experiment.seed: r for r in rows.get(claim.than, [])}
    pairs = [(r, others[r.experiment.seed]) for r in rows.get(claim.row, []) if r.experiment.seed in others]
    curves = [tuple(r.points("gfd", "generator_snapshots") for r in pair) for pair in pairs]
    gains = [math.log(speed_up(one, other)) for one, other in curves if _measured(one) and _measured(other)]
    paper = f"{claim.factor:g} times"
    if not gains:
        return _no_data(claim, results, (claim.row, claim.than), published, paper)
    interval = intervals.paired(gains)
    here = f"{math.exp(_mean(gains)):.2f} times as fast"
    if interval is not None:
        here += f" [{math.exp(interval.low):.2f}, {math.exp(interval.high):.2f}]"
    elif len(gains) > 1:
        here += ALIKE
    return Judgement(claim, intervals.verdict(interval, +1), here, paper, len(gains), interval.p if interval else None)


@judge.register
def _(claim: Best, results: Sequence[Result], published: Published) -> Judgement:
    """Holds where no other place can be the best, does not where this one cannot."""
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
    found = optimum(groups, objective.better)
    if found is None:
        few = "one seed" if seeds == 1 else "seeds that do not differ"
        return Judgement(claim, "undecided", f"{title} is best at {best:g}; {few}: no interval", paper, seeds)
    here = f"{title} is best at {best:g}; the truth may be at {listed(found.among)} ({found.method})"
    verdict: Verdict = "undecided" if claim.at in found.among else "does not hold"
    return Judgement(claim, "holds" if found.among == (claim.at,) else verdict, here, paper, seeds)


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
        return Judgement(claim, "no data", "no value at which both ran")
    counts = {row: [sum(of[seed][v] for v in values) for seed, values in both.items()] for row, of in active.items()}
    gains = [a - b for a, b in zip(*counts.values(), strict=True)]
    among = listed(list(dict.fromkeys(map(len, both.values()))))
    told = " and ".join(f"{row} at {listed(found)} of {among} values" for row, found in counts.items())
    verdict: Verdict = "undecided"
    if len(both) >= SEEDS_OF_A_COUNT:
        verdict = "holds" if min(gains) > 0 else "does not hold" if max(gains) <= 0 else "undecided"
    agree = "all of which have to agree" if len(both) > 1 else "of at least three"
    return Judgement(claim, verdict, f"active are {told}, by seed, {agree}", "–", len(both))


def speed_up(one: pd.Series, other: pd.Series) -> float:
    """How many times as fast `one` falls as `other`, both gFD by step: the steps of one over those of the other.

    To the gFD at which the slower of them ends; between two steps gFD is taken to fall in a straight line.
    """
    if one.iloc[-1] <= other.iloc[-1]:
        return float(other.index[-1] / _reaches(one, other.iloc[-1]))
    return float(_reaches(other, one.iloc[-1]) / one.index[-1])


def _measured(curve: pd.Series) -> bool:
    """Whether there is a curve, of finite numbers."""
    return not curve.empty and all(map(math.isfinite, curve))


def _reaches(curve: pd.Series, value: float) -> float:
    """The first step at which a curve is down at a value that it ends below."""
    steps, values = curve.index.to_numpy(float), curve.to_numpy(float)
    place = int((values <= value).argmax())
    if place == 0:
        return float(steps[0])
    share = (values[place - 1] - value) / (values[place - 1] - values[place])
    return float(steps[place - 1] + share * (steps[place] - steps[place - 1]))


def _by_seed(results: Sequence[Result], row: str, name: str) -> dict[int, float]:
    of_row = (r for r in results if r.row.name == row)
    return {r.experiment.seed: value for r in of_row if (value := quantities.quantity(r, name)) is not None}


def _pairs(claim: Difference | AlmostEqual, results: Sequence[Result]) -> list[tuple[float, float]]:
    """The quantity of the row and of the other, by seed."""
    row, than = (_by_seed(results, name, claim.quantity) for name in (claim.row, claim.than))
    return [(row[seed], than[seed]) for seed in row if seed in than]


def _no_data(
    claim: Claim, results: Sequence[Result], rows: tuple[str, ...], published: Published, paper: str | None = None
) -> Judgement:
    """Nothing to judge by, and why."""
    known = rows_of(results)
    absent = [name for name in rows if name not in known]
    why = f"no row {' or '.join(map(repr, absent))} here" if absent else "did not run"
    if paper is None:
        paper = _paper(claim, results, published) if isinstance(claim, Difference | AlmostEqual) else "–"
    return Judgement(claim, "no data", why, paper)


def _paper(claim: Difference | AlmostEqual, results: Sequence[Result], published: Published) -> str:
    """The difference that the paper prints."""
    column = PUBLISHED_AS.get(claim.quantity, "")
    names = {name: seeds[0].row.published for name, seeds in rows_of(results).items()}
    row, than = (published.get(names.get(name) or name, {}).get(column) for name in (claim.row, claim.than))
    if not row or not than:
        return "–"
    return f"{float(row) - float(than):+.3g} ({float(row) / float(than) - 1:+.1%})"


def _could(differences: Sequence[float], verdict: str, digits: int) -> str:
    """What an undecided study could have seen."""
    if verdict != "undecided":
        return ""
    least = intervals.smallest_detectable(differences)
    if least is None:
        return ALIKE if len(differences) > 1 else ""
    return f"; could have seen {least:.{digits}f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def listed(values: Sequence[float]) -> str:
    """Numbers in words."""
    return ", ".join(f"{value:.6g}" for value in values)
