"""`python -m harness.bench`: how fast each kind of work runs, what it needs, and what each choice for speed gains.

FLOPs are counted by torch as they are executed. The peak is the best of several matrix products of the same dtype in
the same process, before and after each work. So a share of the peak is relative to this machine, not to a data sheet.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness import cli
from harness.benchmarks import breakdown, choices, judging, loading, machinery, measure, scoring, servers, works
from harness.benchmarks.servers import Case
from harness.experiments.scales import scale
from harness.system import paths, terminal
from harness.system.environment import code_version, environment, is_changed
from harness.system.errors import Mistake, unknown
from harness.system.files import write_text
from harness.system.machine import Machine, this_machine

SIDE_BY_SIDE = ("tokenizer step", "generator step")
DIGITS = {
    "ratio": ".2f",
    "from": ".2f",
    "to": ".2f",
    "gain": ".2f",
    "GFLOP/item": ".4g",
    "covers": ".3f",
    "false holds": ".3f",
}


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("bench", "how fast each kind of work runs, what it needs, and what each choice gains")
    cli.add_scale(parser, "(default: tiny)", default="tiny")
    parser.add_argument("--variant", default="mactok", help="the tokenizer (default: mactok)")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images in the batches of trainings (default: the scale's)"
    )
    parser.add_argument("--works", metavar="NAME,...", help=f"only these works: {'; '.join(works.WORKS)}")
    parser.add_argument("--against", metavar="REVISION", help="time the works here and in another revision, in turn")
    parser.add_argument("--runs", type=paths.store_path, default=Path("runs"), metavar="DIR", help="a store to report")
    parser.add_argument(
        "--save", type=paths.folder, metavar="DIR", help="also write the result there, JSON and Markdown"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    case, names = _checked(options)

    machine = this_machine()
    result: dict[str, Any] = {"about": _about(case, machine, options.against), "sections": {}}
    for title, lines in _sections(options, case, names, machine):
        result["sections"][title] = []
        for line in lines:
            result["sections"][title].append(line)
            print(f"{title}: {line.get('work') or next(iter(line.values()))}", file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1) if options.json else terminal.fitted(markdown(result)))
    if options.save is not None:
        _save(result, options.save)
    return 0


def _checked(options: argparse.Namespace) -> tuple[Case, list[str]]:
    """What to time. Raises `Mistake` for what does not exist, and for code that a history could not name."""
    known = scale(options.scale)
    if options.batch is not None and options.batch < 1:
        raise Mistake(f"--batch {options.batch}: at least 1")
    with cli.named_as_typed({"training.batch_images": "--batch"}):
        works.experiment(known.experiment.scale, options.variant, options.batch)
    names = [name.strip() for name in options.works.split(",")] if options.works else list(works.WORKS)
    for name in names:
        if name not in works.WORKS:
            raise unknown("work", name, works.WORKS)
    if options.save is not None:
        paths.require_writable(options.save)
        if is_changed(code_version()):
            raise Mistake("--save: commit the changes of the code first, so that the history names what was measured")
    return Case(options.scale, options.variant, options.batch), names


def _sections(
    options: argparse.Namespace, case: Case, names: list[str], machine: Machine
) -> Iterator[tuple[str, Iterator[dict[str, Any]] | list[dict[str, Any]]]]:
    """The title and the lines of every section, measured when they are read."""
    if options.against:
        yield f"Against {options.against}, in turn", servers.against(options.against, case, names)
        return
    experiment = works.experiment(*case)
    with works.ready(experiment) as random:
        yield f"Works{', with random weights' if random else ''}", measure.works(experiment, machine, names)
        if options.works:
            return
        yield "Where the time goes, %", breakdown.measure(experiment, machine, SIDE_BY_SIDE)
        yield "Several processes side by side", servers.side_by_side(case, SIDE_BY_SIDE)
        yield "The gain of each choice over its alternative, in turn", choices.measure(experiment, machine)
    yield "Planning, starts, report", machinery.measure(experiment, options.runs)
    yield "Decoding, images per second", loading.throughput()
    yield "Peak memory of scoring", scoring.memory()
    yield "How often 95 % intervals other than t intervals hold the true value, simulated", scoring.intervals()
    yield "Verdicts on claims, simulated: shares of studies", judging.lines()


def _about(case: Case, machine: Machine, against: str | None) -> dict[str, Any]:
    """The case, the machine and the code."""
    about = environment(machine)
    return {
        "date": time.strftime("%Y-%m-%d"),
        **case._asdict(),
        "machine": f"{about['processor']}, {machine}",
        "torch": about["versions"]["torch"],
        "commit": about["commit"][:12] + (" with changes" if is_changed(about) else ""),
        "against": against,
    }


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in result["about"].items() if value is not None)
    parts = [f"# Speed\n\n{about}"]
    for title, lines in result["sections"].items():
        names = list(dict.fromkeys(name for line in lines for name in line))
        used = [name for name in names if any(line.get(name) is not None for line in lines)]
        rows = [[_shown(name, line.get(name)) for name in used] for line in lines]
        right = ["left" if isinstance(lines[0].get(name), str) else "right" for name in used] if lines else []
        table = tabulate(rows, headers=used, tablefmt="pipe", disable_numparse=True, colalign=right or None)
        parts.append(f"## {title}\n\n{table if lines else 'nothing'}")
    return "\n\n".join(parts)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return format(value, DIGITS.get(name, ".1f" if abs(value) >= 10 else ".2f"))
    return str(value)


def _save(result: dict[str, Any], folder: Path) -> None:
    """Writes the result as JSON and Markdown, named by date, scale, variant and the other revision."""
    folder.mkdir(parents=True, exist_ok=True)
    about = result["about"]
    name = "-".join(str(about[word]) for word in ("date", "scale", "variant", "against") if about[word])
    for suffix, text in (("json", json.dumps(result, indent=1)), ("md", markdown(result))):
        write_text(folder / f"{name}.{suffix}", text + "\n")


if __name__ == "__main__":
    cli.run(main)
