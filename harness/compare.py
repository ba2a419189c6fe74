"""`python -m harness.compare A B`: compares two runs of a stage: machine, fields and numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from harness import cli
from harness.evaluation import records as metrics
from harness.experiments.fields import differences
from harness.experiments.keys import key_of
from harness.planning.task import experiment_of
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins, terminal
from harness.system.errors import Mistake
from harness.system.texts import printable


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("compare", "compares two runs of a stage: machine, fields and numbers")
    cli.add_store(parser)
    parser.add_argument("a", metavar="A", help="key of a run, or its first digits")
    parser.add_argument("b", metavar="B", help="another run, of the same stage or of any stage of its row")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    store = cli.existing_store(options)
    a, b = store.find(options.a), store.find(options.b)
    if a.key == b.key:
        raise Mistake(f"{options.a} and {options.b} are the same run, {a.stage} {a.key}")
    if a.stage != b.stage:
        a, b = of_one_stage(a, b, store)
        if a.key == b.key:
            raise Mistake(f"{options.a} and {options.b} are runs of one row: name runs of two rows")
    comparison = {"stage": a.stage, "facts": facts(a, b), "fields": fields(a, b), "numbers": numbers(a, b)}
    print(json.dumps(comparison, indent=1) if options.json else shown(comparison))
    return 0


def of_one_stage(a: Run, b: Run, store: Store) -> tuple[Run, Run]:
    """Two runs of one stage that stand for the rows of runs of different stages. Raises `Mistake`."""
    try:
        return a, cli.of_stage(b, (a.stage,), store)
    except Mistake as mistake:
        with contextlib.suppress(Mistake):
            other = cli.of_stage(a, (b.stage,), store)
            if other.key != b.key:  # what two rows share does not compare them
                return other, b
        raise mistake


def facts(a: Run, b: Run) -> dict[str, tuple[str, str]]:
    """Key, state and commit of both runs, and the differences of their revisions and machines."""
    of_a, of_b = environment(a), environment(b)
    always = {
        "key": (a.key, b.key),
        "state": (a.state, b.state),
        "commit": (of_a.pop("commit", ""), of_b.pop("commit", "")),
    }
    of_a["revision"], of_b["revision"] = (str(run.config()["revision"]) for run in (a, b))
    names = dict.fromkeys([*of_a, *of_b])
    pairs = {name: (of_a.get(name, ""), of_b.get(name, "")) for name in names}
    return always | {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def environment(run: Run) -> dict[str, str]:
    """The machine of a run: the values of all attempts, with versions by package and a hash of uncommitted changes."""
    seen: dict[str, dict[str, None]] = {}
    for attempt in run.status()["attempts"]:
        recorded = dict(attempt["environment"])
        changes = recorded.pop("uncommitted", "")
        if "commit" in recorded:
            recorded["commit"] = recorded["commit"][:12] + (f" with changes {key_of(changes)[:6]}" if changes else "")
        recorded.pop("scale", None)  # a field of the experiment
        versions = recorded.pop("versions", {})
        for name, value in (recorded | versions).items():
            seen.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in seen.items()}


def fields(a: Run, b: Run) -> dict[str, tuple[object, object]]:
    """The fields in which the experiments of the runs differ. Raises `Mistake`."""
    try:
        return differences(experiment_of(a), experiment_of(b))
    except Mistake as mistake:
        raise Mistake(f"the experiment of one of the runs is no longer valid: {mistake}") from None


def numbers(a: Run, b: Run) -> list[dict[str, Any]]:
    """The numbers that both runs recorded. `delta` is None if N or protocol differ: it would mean nothing."""
    of_a, of_b = by_moment(a), by_moment(b)
    pairs = []
    for moment, record_a in of_a.items():
        if (record_b := of_b.get(moment)) is not None:
            alike = (record_a.n, record_a.protocol) == (record_b.n, record_b.protocol)
            pair = {
                "values": (record_a.value, record_b.value),
                "deviations": (record_a.deviation, record_b.deviation),
                "steps": (record_a.step, record_b.step),
                "n": (record_a.n, record_b.n),
                "protocols": (record_a.protocol, record_b.protocol),
                "protocol_ids": (record_a.protocol_id, record_b.protocol_id),
                "delta": record_b.value - record_a.value if alike else None,
            }
            pairs.append({"metric": record_a.metric, "split": record_a.split, **pair})
    return pairs


def by_moment(run: Run) -> dict[tuple[str, str, int | None], Record]:
    """The numbers of a finished run by metric, split and step, None for the last: trainings differ in length."""
    records = run.records() if run.state == "done" else []
    last: dict[tuple[str, str], int] = {}
    for r in records:
        last[r.metric, r.split] = max(r.step, last.get((r.metric, r.split), 0))
    return {(r.metric, r.split, None if r.step == last[r.metric, r.split] else r.step): r for r in records}


def shown(comparison: dict[str, Any]) -> str:
    """The facts, fields and numbers as tables, with notes."""
    parts = [_table([(name, *pair) for name, pair in comparison["facts"].items()], (comparison["stage"], "A", "B"))]
    if comparison["fields"]:
        parts.append(_table([(path, *pair) for path, pair in comparison["fields"].items()], ("field", "A", "B")))
    else:
        parts.append("No field of their experiments differs.")
    if comparison["numbers"]:
        heads = ("metric", "split", "step", "A", "B", "B - A", "N")
        parts.append(_table([_number(number) for number in comparison["numbers"]], heads))
    else:
        parts.append("The runs have no number in common. Runs of evaluation and generation have the numbers of tables.")
    if any(number["delta"] is None for number in comparison["numbers"]):
        parts.append(
            "No difference is taken between numbers with different protocols or N; --json shows the protocols."
        )
    return "\n\n".join(parts)


def _number(number: dict[str, Any]) -> tuple[object, ...]:
    named = [metrics.protocol_in(protocol_id) for protocol_id in number["protocol_ids"]]
    title, digits = _metric(number["metric"], named)
    values = [metrics.number(*pair) for pair in zip(number["values"], digits, number["deviations"], strict=True)]
    other = "other protocol" if number["protocols"][0] != number["protocols"][1] else "other N"
    delta = other if number["delta"] is None else metrics.number(number["delta"], max(digits), sign=True)
    steps, counts = (", ".join(dict.fromkeys(map(str, number[name]))) for name in ("steps", "n"))
    return title, number["split"], steps, *values, delta, counts


def _metric(name: str, protocols: list[str]) -> tuple[str, list[int]]:
    """The head of a metric and its digits by each protocol. Some stages record numbers that are not metrics."""
    if name not in plugins.names("harness.evaluation.metrics"):
        return name, [2 for _ in protocols]
    called = metrics.title if len(set(protocols)) == 1 else metrics.full_title
    title = " or ".join(dict.fromkeys(called(name, protocol) for protocol in sorted(protocols)))
    return title + metrics.unit_and_arrow(name), [metrics.digits_of(name, protocol) for protocol in protocols]


def _table(lines: list[tuple[object, ...]], heads: tuple[str, ...]) -> str:
    return printable(terminal.table(lines, heads), "\n")


if __name__ == "__main__":
    cli.run(main)
