"""The answer of a table's page: what became of its claims, which rows are best, and what the page cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluation.records import digits_of, title
from reports.claims.verdicts import DESCRIPTIVE, Ruling
from reports.gates import Gate
from reports.results import Result, protocol_of, rows_of
from reports.statistics import intervals

DECISIONS = {"holds": "**Holds here**", "does not hold": "**Does not hold here**"}
OTHERS = {
    "undecided": "Undecided",
    "premise not met": "Not tested, as a premise does not hold",
    "not measurable here": "Not measurable here",
    "no data": "Without data",
}


def sentences(rulings: Sequence[Ruling], gates: Sequence[Gate], results: Sequence[Result], split: str) -> list[str]:
    """At most four sentences: what holds, what does not, what is open, and what failed gates keep from being seen.

    Without claims the first one names the best rows; `split` is the main set of generated images, or "".
    """
    tested = [r for r in rulings if r.family != DESCRIPTIVE] or list(rulings)
    seeds = len({r.experiment.seed for r in results})
    lines = [_decided(tested, verdict) for verdict in DECISIONS] + [_open(tested, seeds)]
    if not rulings:
        lines = [
            _best(results, "rfd", "val", "evaluation"),
            _best(results, "gfd", split, "generation") if split else "",
        ]
    if not any(lines):
        lines = ["No row is finished."]
    failed = [gate for gate in gates if gate.passed is False]
    if failed:
        lines.append(f"{len(failed)} of {len(gates)} gates failed, so {'; '.join(gate.otherwise for gate in failed)}.")
    return [line for line in lines if line]


def _decided(rulings: Sequence[Ruling], verdict: str) -> str:
    told = [f"{r.claim.says} – {r.alone.here}" for r in rulings if r.verdict == verdict]
    return f"{DECISIONS[verdict]}: {'; '.join(told)}." if told else ""


def _open(rulings: Sequence[Ruling], seeds: int) -> str:
    told = []
    for verdict, text in OTHERS.items():
        if claims := [r.claim.says for r in rulings if r.verdict == verdict]:
            by = f" over {seeds} seeds" if seeds > 1 else ", as one seed has no interval"
            told.append(f"{text}{by if verdict == 'undecided' else ''}: {'; '.join(claims)}.")
    return " ".join(told)


def _best(results: Sequence[Result], metric: str, split: str, stage: str) -> str:
    """The rows with the lowest and the second lowest mean."""
    values = {
        name: [v.value for r in seeds if (v := r.value(metric, split, stage)) is not None]
        for name, seeds in rows_of(list(results)).items()
    }
    ranked = sorted((name for name in values if values[name]), key=lambda name: sum(values[name]) / len(values[name]))
    if not ranked:
        return ""
    protocol = protocol_of(results, metric, split, stage)
    digits = digits_of(metric, protocol)
    first, *others = (f"{name} ({intervals.shown(values[name], digits)})" for name in ranked[:2])
    return f"Lowest {title(metric, protocol)}: **{first}**{f', then {others[0]}' if others else ''}."
