"""`python -m harness.claims [STUDY ...]`: judges the claims of the papers on all results in the store."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import cli
from harness.experiments.requests import AblationRequest, Request, SweepRequest, new_request, study_called
from harness.experiments.scales import SCALES, Scale, scale
from harness.planning.request_log import remembered_request
from harness.planning.task import task
from harness.store.runs import Store
from harness.system import plugins, terminal
from harness.system.errors import Mistake

if TYPE_CHECKING:
    from reports.claims.verdicts import Ruling
    from reports.results import Result


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = cli.parser("claims", "judges the claims of the papers on all results in the store")
    cli.add_store(parser)
    cli.add_study_name(parser, "names of studies (default: all studies with claims)", nargs="*")
    cli.add_scale(parser, "(default: all scales with results, except smoke)")
    sets = parser.add_argument("--data", help="data set, NAME or NAME:ARGUMENT (default: that of the scale)")
    cli.complete(sets, lambda: plugins.names("harness.data.sets"))
    cli.add_fields(parser)
    cli.add_details(parser, "every claim with its numbers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def judge(options: argparse.Namespace) -> tuple[list[tuple[str, str, list[Ruling]]], dict[str, str]]:
    """The rulings on every study at every scale, and the command that runs each study. Raises `Mistake`."""
    data, fields = cli.absolute_data(options.data), cli.fields_of(options)
    names = options.study or plugins.names("ablations")
    scales = [scale(options.scale)] if options.scale else [known for known in SCALES.values() if not known.meaningless]
    of_studies = {name: study_called(name) for name in names}
    store = cli.existing_store(options)

    from reports.claims.verdicts import judge_all, judge_study
    from reports.results import load

    results, commands, refused = [], {}, dict[str, str]()
    for name, study in of_studies.items():
        if not study.claims:
            continue
        try:
            requests = [whole_study(name, at, data, fields) for at in scales]
            with_results = [(request, seeds) for request in requests if (seeds := seeds_in(request, store))]
        except Mistake as mistake:
            if options.study:
                raise
            refused[name] = str(mistake)
            continue
        commands[name] = cli.command_of(requests[0], options)
        for request, seeds in with_results or [(requests[0], 1)]:
            several = dataclasses.replace(request, seeds=seeds)
            loaded = load(several.experiments(), store, request.stages)
            if isinstance(several, AblationRequest):
                rulings = judge_study(as_remembered(several, store), loaded)
            else:
                rulings = judge_all(study.claims, loaded, {})
            results.append((name, request.scale.experiment.scale, rulings))
            for line in without_result(loaded):
                print(f"warning: {name} at {request.scale.experiment.scale}: {line}", file=sys.stderr)
    cli.report_left_out(refused, of=len(commands) + len(refused))
    return results, commands


def main(arguments: Sequence[str]) -> int:
    options = parsed(arguments)
    results, commands = judge(options)
    store = Store(options.runs)

    from reports.claims.verdicts import summary

    if options.json:
        print(json.dumps([_plain(name, at, r) for name, at, rulings in results for r in rulings], indent=1))
        return 0
    if unclaimed := [name for name in options.study if not study_called(name).claims]:
        print(f"There are no claims about {', '.join(unclaimed)}.")
    judged = [(name, at, rulings) for name, at, rulings in results if any(r.verdict != "no data" for r in rulings)]
    if judged and options.details:
        print(details(judged))
    for name, at, rulings in judged:
        print(f"{name} at {at}{f' on {options.data}' if options.data else ''}: {summary(rulings)}")
    scales_judged = [at for _, at, _ in judged]
    for at in dict.fromkeys(at for at in scales_judged if scales_judged.count(at) > 1):
        print(f"all at {at}: {summary([r for _, other, rulings in judged if other == at for r in rulings])}")
    without = [name for name in commands if name not in {name for name, _, _ in judged}]
    if without:
        more = f" and {len(without) - 1} more studies" if len(without) > 1 else ""
        other = None if judged else other_scale(without, options, store)
        elsewhere = f", but there are results at {other}" if other else ""
        looked_at = f"at {options.scale}" if options.scale else "at scales above smoke"
        print(f"The store {store.root} has no results {looked_at} for the claims of {without[0]}{more}{elsewhere}.")
    if judged and not options.details:
        print("--details shows every claim with its numbers.")
    if without:
        there = argparse.Namespace(**vars(options) | {"scale": other})
        cli.say_next(cli.judgement_of(there, *options.study) if other else commands[without[0]])
    return 0


def other_scale(names: Sequence[str], options: argparse.Namespace, store: Store) -> str | None:
    """The first scale at which one of these studies has results."""
    for name, (at, known) in itertools.product(names, SCALES.items()):
        with contextlib.suppress(Mistake):  # settings that do not fit there
            if seeds_in(whole_study(name, known, cli.absolute_data(options.data), cli.fields_of(options)), store):
                return at
    return None


def details(judged: Sequence[tuple[str, str, Sequence[Ruling]]]) -> str:
    """A table of claims for every study and scale, and how to read it."""
    from reports.claims.table import EXPLAINED, lines

    parts = []
    for name, at, rulings in judged:
        table = [{key: value.replace("**", "") for key, value in line.items()} for line in lines(rulings)]
        cells = [list(line.values()) for line in table]
        shown = terminal.table(cells, list(table[0]), spare=("power", "family", "paper", "seeds"))
        parts.append(f"{name} at {at}\n\n{shown}\n\n")
    return "".join([*parts, f"{EXPLAINED}\n"])


def as_remembered(request: AblationRequest, store: Store) -> AblationRequest:
    """The request with the planned looks of the one that the store remembers, if that grows."""
    before = remembered_request(request, store)
    planned = before.plan.request if before is not None and before.plan is not None else None
    grows = planned.max_seeds if isinstance(planned, AblationRequest) else 0
    return dataclasses.replace(request, max_seeds=grows)


def without_result(results: Sequence[Result]) -> list[str]:
    """A line for every run that is damaged, failed or diverged: the claims are judged without its numbers."""
    runs = {run.folder: (r, run, run.state) for r in results for run in r.runs.values()}
    return [
        f"{r.row.name}, seed {r.experiment.seed}, is judged without its {run.stage} {run.key}, which is {state}"
        for r, run, state in runs.values()
        if state in ("damaged", "failed", "diverged")
    ]


def whole_study(name: str, at: Scale, data: str | None, fields: tuple[tuple[str, str], ...] = ()) -> Request:
    """A request for all rows of a study at a scale, or for the whole grid of a sweep, with one seed."""
    request = new_request(name, at, data=data, fields=fields)
    return dataclasses.replace(request, points=tuple(request.grid())) if isinstance(request, SweepRequest) else request


def seeds_in(request: Request, store: Store) -> int:
    """The number of seeds, from 0 on, with a finished tokenizer of any row."""
    experiments = [of_row[0] for of_row in request.experiments().values()]

    def ran(seed: int) -> bool:
        seeded = (dataclasses.replace(e, seed=seed) for e in experiments)
        return any(task("tokenizer", e).run_in(store).state == "done" for e in seeded)

    return next(seed for seed in itertools.count() if not ran(seed))


def _plain(study: str, at: str, r: Ruling) -> dict[str, object]:
    about = {"study": study, "scale": at, "claim": r.claim.says, "source": r.claim.source, "family": r.family}
    alone = {"here": r.alone.here, "paper": r.alone.paper, "n": r.alone.n, "asked": r.asked, "without": r.without}
    tested = {"p": r.alone.p, "adjusted": r.adjusted, "power": r.power, "detectable": r.detectable or None}
    return about | alone | tested | {"alone": r.alone.verdict, "verdict": r.verdict, "because": r.because}


if __name__ == "__main__":
    cli.run(main)
