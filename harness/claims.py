"""`python -m harness.claims [STUDY ...]`: judges the claims of the papers on all results in the store."""

from __future__ import annotations

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
from harness.system import plugins
from harness.system.errors import Mistake

if TYPE_CHECKING:
    from reports.claims.verdicts import Ruling
    from reports.results import Result


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("claims", "judges the claims of the papers on all results in the store")
    cli.add_store(parser)
    parser.add_argument("study", nargs="*", help="names of studies (default: all studies with claims)")
    parser.add_argument("--scale", help=f"{', '.join(SCALES)} (default: all scales with results, except smoke)")
    parser.add_argument("--data", help="data set, NAME or NAME:ARGUMENT (default: that of the scale)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    names = options.study or plugins.names("ablations")
    scales = [scale(options.scale)] if options.scale else [known for name, known in SCALES.items() if name != "smoke"]
    of_studies = {name: study_called(name) for name in names}
    store = cli.existing_store(options)

    from tabulate import tabulate

    from reports.claims.table import EXPLAINED, lines
    from reports.claims.verdicts import judge_all, judge_study, summary
    from reports.results import load

    results = []
    for name, study in of_studies.items():
        if not study.claims:
            continue
        try:
            requests = [whole_study(name, at, options.data) for at in scales]
            with_results = [(request, seeds) for request in requests if (seeds := seeds_in(request, store))]
        except Mistake as mistake:
            if options.study:
                raise
            print(f"warning: {name} is left out: {mistake}", file=sys.stderr)
            continue
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
    if options.json:
        print(json.dumps([_plain(name, at, r) for name, at, rulings in results for r in rulings], indent=1))
        return 0
    for name, of_scale, rulings in results:
        table = [{key: value.replace("**", "") for key, value in line.items()} for line in lines(rulings)]
        print(f"{name} at {of_scale}\n")
        widths = [32, 11, 56, 7, 16, 6, 18]
        print(tabulate(table, headers="keys", maxcolwidths=widths, disable_numparse=True), end="\n\n")
    if unclaimed := [name for name in options.study if not of_studies[name].claims]:
        print(f"There are no claims about {', '.join(unclaimed)}.\n")
    print(EXPLAINED)
    for of_scale in dict.fromkeys(at for _, at, _ in results):
        print(f"\n{of_scale}: {summary([r for _, at, rulings in results if at == of_scale for r in rulings])}")
    return 0


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


def whole_study(name: str, at: Scale, data: str | None) -> Request:
    """A request for all rows of a study at a scale, or for the whole grid of a sweep, with one seed."""
    request = new_request(name, at, data=data)
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
