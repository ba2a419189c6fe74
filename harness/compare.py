"""`python -m harness.compare A B`: what differs between two runs of a stage: machine, fields and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from harness import cli
from harness.evaluation import records as metrics
from harness.experiments.fields import differences
from harness.experiments.keys import key_of
from harness.planning.task import experiment_of
from harness.store.records import Record
from harness.store.runs import Run
from harness.system import plugins
from harness.system.errors import Mistake


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("compare", "what differs between two runs of a stage: machine, fields and numbers")
    cli.add_store(parser)
    parser.add_argument("a", metavar="A", help="a run, by its key or the first digits of it")
    parser.add_argument("b", metavar="B", help="another one of the same stage")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    store = cli.existing_store(options)
    a, b = store.find(options.a), store.find(options.b)
    if a.stage != b.stage:
        raise Mistake(f"{a.key} is a run of the stage {a.stage} and {b.key} of {b.stage}: there is nothing to compare")
    if a.key == b.key:
        raise Mistake(f"{options.a} and {options.b} are the same run, {a.stage} {a.key}")
    found = {"stage": a.stage, "facts": facts(a, b), "fields": fields(a, b), "numbers": numbers(a, b)}
    print(json.dumps(found, indent=1) if options.json else shown(found))
    return 0


def facts(a: Run, b: Run) -> dict[str, tuple[str, str]]:
    """Key, state and commit of both, and in what their revisions and machines differ."""
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
    """What was recorded of the machine, every value of the attempts; versions by package, changes with the commit."""
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
    """The fields in which the experiments differ that the runs were made for; raises `Mistake`."""
    try:
        return differences(experiment_of(a), experiment_of(b))
    except Mistake as mistake:
        raise Mistake(f"one of the runs was made for an experiment that is none any more: {mistake}") from None


def numbers(a: Run, b: Run) -> list[dict[str, Any]]:
    """The numbers that both recorded; `delta` is None where N or protocol differ: it would mean nothing."""
    of_a, of_b = by_moment(a), by_moment(b)
    found = []
    for moment, ours in of_a.items():
        if (theirs := of_b.get(moment)) is not None:
            alike = (ours.n, ours.protocol) == (theirs.n, theirs.protocol)
            pair = {
                "values": (ours.value, theirs.value),
                "deviations": (ours.deviation, theirs.deviation),
                "steps": (ours.step, theirs.step),
                "n": (ours.n, theirs.n),
                "protocols": (ours.protocol, theirs.protocol),
                "protocol_ids": (ours.protocol_id, theirs.protocol_id),
                "delta": theirs.value - ours.value if alike else None,
            }
            found.append({"metric": ours.metric, "split": ours.split, **pair})
    return found


def by_moment(run: Run) -> dict[tuple[str, str, int | None], Record]:
    """The numbers of a finished run by metric, split and step, None for the last: trainings differ in length."""
    records = run.records() if run.state == "done" else []
    last: dict[tuple[str, str], int] = {}
    for r in records:
        last[r.metric, r.split] = max(r.step, last.get((r.metric, r.split), 0))
    return {(r.metric, r.split, None if r.step == last[r.metric, r.split] else r.step): r for r in records}


def shown(found: dict[str, Any]) -> str:
    """Three tables, those that have lines, and what to know of them."""
    parts = [_table([(name, *pair) for name, pair in found["facts"].items()], (found["stage"], "A", "B"))]
    if found["fields"]:
        parts.append(_table([(path, *pair) for path, pair in found["fields"].items()], ("field", "A", "B")))
    else:
        parts.append("No field of their experiments differs.")
    if found["numbers"]:
        heads = ("metric", "split", "step", "A", "B", "B - A", "N")
        parts.append(_table([_number(number) for number in found["numbers"]], heads))
    else:
        parts.append("There is no number that both recorded.")
    if any(number["delta"] is None for number in found["numbers"]):
        parts.append("No difference is taken between numbers of another protocol or N: --json shows the protocols.")
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
    """The head of a metric and its digits by each protocol; some stages record numbers that are no metrics."""
    if name not in plugins.names("harness.evaluation.metrics"):
        return name, [2 for _ in protocols]
    called = metrics.title if len(set(protocols)) == 1 else metrics.full_title
    title = " or ".join(dict.fromkeys(called(name, protocol) for protocol in sorted(protocols)))
    return title + metrics.unit_and_arrow(name), [metrics.digits_of(name, protocol) for protocol in protocols]


def _table(lines: list[tuple[object, ...]], heads: tuple[str, ...]) -> str:
    return tabulate(lines, heads, disable_numparse=True)


if __name__ == "__main__":
    cli.run(main)
