"""Judges the claims of a study together: families of tests, premises, gates, seeds without a result, power, looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.evaluation.records import number
from harness.experiments.claims import AlmostEqual, Best, Claim, Correlated, Difference, Faster, Level, Wider
from harness.experiments.fields import flat
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import AblationRequest
from reports.claims import quantities
from reports.claims.judge import DECIDED, Judgement, Published, Verdict, base_name, judge
from reports.gates import Gate, gates
from reports.results import Result, by_seeds, data_sets, trained_here
from reports.statistics import intervals, model, power
from reports.statistics.intervals import LEVEL
from reports.statistics.looks import level_of_look

PREMISE, PRIMARY, DESCRIPTIVE = "premise", "primary", "descriptive"


@dataclass(frozen=True)
class Ruling:
    """The final verdict on a claim, with what it rests on.

    `alone` is its judgement by itself. `adjusted` is its p value in its `family`, whose tests have the level `level`
    together and at first `level / tests` each. `asked` is the number of seeds that were asked for, `without` names
    those without a result, row by row. `because` explains a verdict that is not that of the test.
    """

    alone: Judgement
    verdict: Verdict
    family: str
    level: float
    tests: int
    adjusted: float | None = None
    asked: int = 0
    without: tuple[str, ...] = ()
    because: str = ""
    oddities: tuple[str, ...] = ()

    @property
    def claim(self) -> Claim:
        """What is claimed."""
        return self.alone.claim

    @property
    def decided(self) -> bool:
        """Whether it holds or does not hold."""
        return self.verdict in DECIDED

    @property
    def first_level(self) -> float:
        """The level that the least p value of the family has to reach."""
        return self.level / max(1, self.tests)

    @property
    def power(self) -> float | None:
        """The share of studies like this one that would find an effect as large as the paper's; None if not known."""
        effect, paper = self.alone.effect, self.alone.published
        if effect is None or not paper:
            return None
        return power.power(paper, effect.deviation, effect.n, effect.freedom, self.first_level)

    @property
    def seeds_needed(self) -> int | None:
        """The number of seeds that would find the paper's effect, or else the effect seen, in 80 % of studies."""
        effect = self.alone.effect
        sought = self.alone.published or (effect.estimate if effect else 0.0)
        if effect is None or not sought or isinstance(self.claim, AlmostEqual):
            return None
        return power.seeds_needed(sought, effect.deviation, effect.n, effect.freedom, self.first_level)

    @property
    def detectable(self) -> str:
        """The smallest effect that 80 % of such studies find, with its 95 % range; empty if nothing is known of it.

        A claim of almost no change has none: it seeks no effect.
        """
        effect, most = self.alone.effect, self.alone.most
        if effect is None or isinstance(self.claim, AlmostEqual):
            return ""
        found = power.detectable(effect.deviation, effect.n, effect.freedom, self.first_level)
        low, high = (
            found * bound / effect.deviation for bound in power.deviation_range(effect.deviation, effect.freedom)
        )
        if found > most:
            return "none that is possible"
        return number(found, self.alone.digits, interval=(low, min(high, most)))


def judge_all(
    claims: Sequence[Claim], results: Sequence[Result], printed: Published, planned: tuple[int, ...] = ()
) -> list[Ruling]:
    """The rulings on all claims of a study, which say nothing of tokenizers from outside.

    `planned` are the numbers of seeds at which a growing study is looked at. Then every look has a lower level, and
    what the first look decides stands.
    """
    results = trained_here(results)
    seeds = max((r.experiment.seed + 1 for r in results), default=0)
    looks = [n for n in planned if n <= seeds] or [seeds]
    level = level_of_look(planned) if planned else LEVEL
    found: list[Ruling] = []
    for n in looks:
        now = _at_one_look(claims, [r for r in results if r.experiment.seed < n], printed, level)
        found = [before if before.decided else ruling for before, ruling in zip(found or now, now, strict=True)]
    return found


def judge_study(request: AblationRequest, results: Sequence[Result]) -> list[Ruling]:
    """The rulings on the claims of a table, at its planned looks if it grows.

    The paper's effects are none of a study that the user changed.
    """
    rulings = judge_all(request.study.claims, results, request.printed, request.looks)
    if not request.changed:
        return rulings
    alone = [dataclasses.replace(ruling.alone, paper="–", published=None) for ruling in rulings]
    return [dataclasses.replace(ruling, alone=own) for ruling, own in zip(rulings, alone, strict=True)]


def still_open(rulings: Sequence[Ruling]) -> list[str]:
    """What more seeds might decide: the primary claims and premises that are undecided."""
    return [r.claim.says for r in rulings if r.verdict == "undecided" and r.family != DESCRIPTIVE]


def _at_one_look(claims: Sequence[Claim], results: Sequence[Result], printed: Published, level: float) -> list[Ruling]:
    """Premises first: what rests on one that fails is not tested, and no part of the family."""
    failed = [gate for gate in gates(results) if gate.passed is False] if results else []
    rulings: dict[str, Ruling] = {}
    for claim in sorted(claims, key=lambda claim: _family(claim, claims) != PREMISE):
        ruling = _alone(claim, _family(claim, claims), results, printed, level)
        rulings[claim.says] = _on_premise(_measurable(ruling, failed), rulings)
    family = [r for r in rulings.values() if r.family == PRIMARY and r.alone.p is not None and not r.because]
    for ruling, p in zip(family, intervals.holm([r.alone.p for r in family]), strict=True):
        rulings[ruling.claim.says] = dataclasses.replace(ruling, adjusted=p, tests=len(family))
    return [_decided(rulings[claim.says]) for claim in claims]


def _alone(claim: Claim, family: str, results: Sequence[Result], printed: Published, level: float) -> Ruling:
    """The ruling by the claim's own test, with the seeds that it lacks."""
    used = [r for r in results if _is_about(claim, r)]
    judgement = _incomparable(claim, used) or judge(claim, results, printed, level)
    return Ruling(
        judgement,
        judgement.verdict,
        family,
        level,
        tests=1,
        adjusted=judgement.p,
        asked=len({r.experiment.seed for r in used}),
        without=tuple(by_seeds((r, _lacks(r)) for r in used if not _has(claim, r))),
        oddities=_oddities(claim, used),
    )


def _lacks(result: Result) -> str:
    """Why a row and seed has no number: its state, or that a finished one has others."""
    return "not measured" if result.state == "done" else result.state


def _incomparable(claim: Claim, used: Sequence[Result]) -> Judgement | None:
    """The judgement on a claim that compares numbers of different images; None if they can be compared.

    Shares of a row's own information can be compared, whatever its images.
    """
    relative = all(name in quantities.OF_ONE_ROW for name in _quantities(claim))
    stages = {quantities.stage(name) for name in _quantities(claim)}
    firsts = {r.experiment.seed: r for r in reversed(used)}
    pairs = [(r, other) for r in used for other in (used[0], firsts[r.experiment.seed])]
    if relative or all(r.comparable(other, stage) for r, other in pairs for stage in stages):
        return None
    contents = dict.fromkeys(content for r in used for content in r.contents)
    names = ", ".join(dict.fromkeys(data_sets(used).values()) or contents)
    return Judgement(claim, "not measurable here", f"these rows are measured on different images: {names}")


def _family(claim: Claim, claims: Sequence[Claim]) -> str:
    if any(other.premise == claim.says for other in claims):
        return PREMISE
    return PRIMARY if claim.primary else DESCRIPTIVE


def rows_named(claim: Claim) -> tuple[str, ...]:
    """The names of the rows that a claim is about; none for a claim about all rows."""
    return tuple(getattr(claim, name) for name in ("row", "than") if hasattr(claim, name))


def _measurable(ruling: Ruling, failed: Sequence[Gate]) -> Ruling:
    """The ruling, unless a failed gate makes its quantity meaningless."""
    if ruling.verdict == "no data":
        return ruling
    for gate in failed:
        if gate.bars(_quantities(ruling.claim), rows_named(ruling.claim)):
            because = f"a gate failed: {gate.condition}" + (f" ({', '.join(gate.rows)})" if gate.rows else "")
            return dataclasses.replace(ruling, verdict="not measurable here", because=because)
    return ruling


def _on_premise(ruling: Ruling, rulings: dict[str, Ruling]) -> Ruling:
    """The ruling, unless its premise does not hold or is open."""
    if ruling.claim.premise not in rulings or ruling.verdict in ("no data", "not measurable here"):
        return ruling
    premise = _decided(rulings[ruling.claim.premise])
    if premise.verdict == "holds":
        return ruling
    if premise.verdict == "does not hold":
        because = f"this does not hold: {premise.claim.says}"
        return dataclasses.replace(ruling, verdict="premise not met", because=because)
    because = f"its premise is {premise.verdict}: {premise.claim.says}"
    return dataclasses.replace(ruling, verdict="undecided", because=because)


def _decided(ruling: Ruling) -> Ruling:
    """The ruling by its p value in its family, and by the seeds without a result: they bar `holds`."""
    if not ruling.decided:
        return ruling
    if ruling.adjusted is not None and ruling.adjusted > ruling.level:
        return dataclasses.replace(ruling, verdict="undecided")
    if ruling.without and ruling.verdict == "holds":
        return dataclasses.replace(ruling, verdict="undecided", because="seeds without a result might not agree")
    return ruling


def _quantities(claim: Claim) -> tuple[str, ...]:
    """The quantities that a claim is about."""
    match claim:
        case Difference() | AlmostEqual() | Level():
            return (claim.quantity,)
        case Correlated():
            return (claim.one, claim.other)
        case Faster():
            return (quantities.STEPS,)
        case Best():
            return (OBJECTIVES[claim.objective].metric,)
    return ()


def _is_about(claim: Claim, result: Result) -> bool:
    """Whether the claim needs this row and seed."""
    match claim:
        case Correlated():
            return True
        case Best():
            return flat(result.experiment)[claim.field] in claim.among
        case Wider():
            return base_name(result) in (claim.row, claim.than)
        case Level():
            return result.row.name == claim.row
    return result.row.name in (claim.row, claim.than)


def _has(claim: Claim, result: Result) -> bool:
    """Whether this row and seed has what the claim needs."""
    match claim:
        case Best():
            objective = OBJECTIVES[claim.objective]
            return result.value(objective.metric, objective.split(result.experiment), objective.stage) is not None
        case Wider():
            return result.done("tokenizer") is not None
        case Faster():
            return not result.points("gfd", "generator_snapshots").empty
    return all(quantities.quantity(result, name) is not None for name in _quantities(claim))


def _oddities(claim: Claim, used: Sequence[Result]) -> tuple[str, ...]:
    """What a mean over seeds does not tell: rows whose seeds have several statuses, and a value that lies apart."""
    if not isinstance(claim, Difference | AlmostEqual | Level):
        return ()
    rows = dict.fromkeys(r.row.name for r in used)
    apart = _apart(claim, used)
    if claim.quantity not in quantities.DERIVED or claim.quantity == "gfd_unguided":
        return tuple(apart)
    mixed = []
    for row in rows:
        statuses = [r.status for r in used if r.row.name == row]
        if len(set(statuses)) > 1:
            counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
            mixed.append(f"{row} is " + ", ".join(f"{status} in {n}" for status, n in counts.items()))
    return (*mixed, *apart)


def _apart(claim: Difference | AlmostEqual | Level, used: Sequence[Result]) -> list[str]:
    """A sentence on the seed whose value, of those that the claim averages, lies apart; empty if none does."""
    values = quantities.values(used, claim.quantity)
    own = values.get(claim.row, {})
    if not isinstance(claim, Level):
        than = values.get(claim.than, {})
        own = {seed: value - than[seed] for seed, value in own.items() if seed in than}
    seed = model.outlier(own)
    if seed is None:
        return []
    digits = quantities.digits(claim.quantity, used)
    shown = {of: number(value, digits, sign=not isinstance(claim, Level)) for of, value in own.items()}
    alone = shown.pop(seed)
    if alone in shown.values():  # apart in decimals that are not told
        return []
    others = ", ".join(shown.values())
    return [f"in {quantities.title(claim.quantity)} seed {seed} lies apart: {alone}, other seeds {others}"]


def summary(rulings: Sequence[Ruling]) -> str:
    """How many claims are decided, and what keeps the others from it, in one sentence."""
    parts: list[tuple[str, str, Callable[[Ruling], bool]]] = [
        ("is decided", "are decided", lambda r: r.decided),
        ("is undecided", "are undecided", _is("undecided")),
        ("rests on a premise that is not met", "rest on premises that are not met", _is("premise not met")),
        ("cannot be measured here", "cannot be measured here", _is("not measurable here")),
        ("has no data", "have no data", _is("no data")),
    ]
    counted = [(one, many, sum(map(is_so, rulings))) for one, many, is_so in parts]
    told = [f"{found} {one if found == 1 else many}" for one, many, found in counted if found]
    more = _more(rulings)
    return f"Of {len(rulings)} claim{'s' * (len(rulings) > 1)} {', '.join(told)}.{more}" if rulings else ""


def _more(rulings: Sequence[Ruling]) -> str:
    """How many seeds the undecided claims need; empty if that is not known."""
    needed = [(r, n) for r in rulings if r.verdict == "undecided" and (n := r.seeds_needed) and n > r.alone.n]
    if not needed:
        return ""
    printed = [bool(r.alone.published) for r, _ in needed]
    rest = "those in the paper (where it prints none: those seen here)" if any(printed) else "those seen here"
    effects = "those in the paper" if all(printed) else rest
    return (
        f" With {_seeds([n for _, n in needed])}, 80 % of studies would decide {len(needed)} of the undecided, if the "
        f"true effects are {effects}."
    )


def _is(verdict: Verdict) -> Callable[[Ruling], bool]:
    return lambda ruling: ruling.verdict == verdict


def _seeds(needed: Sequence[int]) -> str:
    low, high = min(needed), max(needed)
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"
