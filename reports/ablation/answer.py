"""The answer of a table's page: what became of its claims, which rows are best, and what the page cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluation.records import bounds_of, digits_of, number, title
from harness.experiments.claims import AlmostEqual, Difference
from harness.system.texts import alike, counted
from reports.claims.verdicts import DESCRIPTIVE, Ruling, rows_named
from reports.gates import Gate
from reports.results import Result, by_data_set, protocol_of, rows_of, trained_here
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
    lines = [_decided(tested, verdict, seeds) for verdict in DECISIONS] + [_open(tested, results)]
    if not rulings:
        other = next((r.experiment.evaluation.transfer for r in results), None)
        lines = [
            _best(results, "rfd", "val", "evaluation"),
            _best(results, "rfd", "val", "transfer", f" on the images of `{other}`") if other else "",
            _best(results, "gfd", split, "generation") if split else "",
        ]
    if not any(lines):
        finished = any(r.state == "done" for r in results)
        lines = [
            "No row is the best: numbers are equal, or of different images." if finished else "No row is finished."
        ]
    failed = [gate for gate in gates if gate.passed is False]
    if failed:
        told = [f"{_of_rows(gate, results)}{gate.otherwise}" for gate in failed]
        sentences = " ".join(f"{one[0].upper()}{one[1:]}." for one in told)
        lines.append(f"{len(failed)} of {len(gates)} gates failed, so this page cannot answer everything. {sentences}")
    return [line for line in lines if line]


def _of_rows(gate: Gate, results: Sequence[Result]) -> str:
    """The rows that fail a gate for every row, as the beginning of a sentence; empty if all rows do."""
    every = {r.row.name for r in trained_here(results)}
    return "" if every <= set(gate.rows) or not gate.rows else f"in {' and '.join(gate.rows)}, "


def _decided(rulings: Sequence[Ruling], verdict: str, seeds: int) -> str:
    told = [f"{r.claim.says} – {r.alone.here}{_at_a_look(r, seeds)}" for r in rulings if r.verdict == verdict]
    return f"{DECISIONS[verdict]}: {'; '.join(told)}." if told else ""


def _at_a_look(ruling: Ruling, seeds: int) -> str:
    """The number of seeds of a difference that was decided by fewer than the page has."""
    fewer = isinstance(ruling.claim, Difference | AlmostEqual) and ruling.alone.n < seeds
    return f" over {ruling.alone.n} seeds" if fewer else ""


def _open(rulings: Sequence[Ruling], results: Sequence[Result]) -> str:
    absent = [r for r in rulings if r.verdict == "no data" and set(rows_named(r.claim)) - rows_of(results).keys()]
    by_text: dict[str, list[str]] = {}
    for verdict, text in OTHERS.items():
        for r in (r for r in rulings if r.verdict == verdict and r not in absent):
            because = _undecided(r, results) if verdict == "undecided" else ""
            by_text.setdefault(text + because, []).append(r.claim.says)
    told = [f"{text}: {'; '.join(claims)}." for text, claims in by_text.items()]
    if absent:
        needs = "needs" if len(absent) == 1 else "need"
        told.append(f"{counted(len(absent), 'claim')} {needs} rows that this page does not have.")
    return " ".join(told)


def _undecided(ruling: Ruling, results: Sequence[Result]) -> str:
    """Why a claim is undecided: over rows or seeds, or for want of an interval."""
    if (seeds := len({r.experiment.seed for r in results})) > 1:
        return f" over {seeds} seeds"
    return f" over {ruling.alone.n} rows" if ruling.alone.p is not None else ", as one seed has no interval"


def _best(results: Sequence[Result], metric: str, split: str, stage: str, where: str = "") -> str:
    """The rows with the lowest and the second lowest mean, on every data set that the rows have.

    Empty if nothing is measured, if all rows have the same value, or if their images differ.
    """
    by_data = {
        data: _lowest(of, metric, split, stage)
        for data, of in by_data_set(results).items()
        if all(one.comparable(other, stage) for one in of for other in of)
    }
    told = [f"on `{data}` {rows}" if data else rows for data, rows in by_data.items() if rows]
    name = title(metric, protocol_of(results, metric, split, stage))
    return f"Lowest {name}{where}: {'; '.join(told)}." if told else ""


def _lowest(results: Sequence[Result], metric: str, split: str, stage: str) -> str:
    values = {
        name: [v.value for r in seeds if (v := r.value(metric, split, stage)) is not None]
        for name, seeds in rows_of(list(results)).items()
    }
    means = {name: sum(of_row) / len(of_row) for name, of_row in values.items() if of_row}
    digits = digits_of(metric, protocol_of(results, metric, split, stage))
    ranked: dict[str, list[str]] = {}  # rows of one printed mean, as those that share a tokenizer, share a place
    for name in sorted(means, key=lambda name: means[name]):
        ranked.setdefault(number(means[name], digits), []).append(name)
    if len(ranked) == 1 and len(means) > 1:
        return ""
    told = []
    for mean, names in list(ranked.items())[:2]:
        shown = {intervals.shown(values[name], digits, bounds_of(metric)) for name in names}
        told.append(f"{alike(names)} ({shown.pop() if len(shown) == 1 else mean})")
    return ", then ".join([f"**{told[0]}**", *told[1:]]) if told else ""
