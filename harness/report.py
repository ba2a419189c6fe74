"""`python -m harness.report STUDY`: rebuilds a report from the store, without running anything."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.experiments.requests import AblationRequest, SweepRequest
from harness.store.runs import Store
from harness.system import terminal
from harness.system.errors import Mistake


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report")
    cli.add_study(parser)
    cli.add_growth(parser)
    cli.add_sweep(parser)
    cli.add_storage(parser)
    options = parser.parse_args(arguments)
    plan, store = cli.plan_from(options), Store(options.runs)
    request = plan.request
    # Without its tokenizer nothing of a row has run: other studies may have the data, and all that is measured on it.
    rows = [t for t in plan.tasks if t.stage == "tokenizer"] or plan.tasks
    if all(t.run_in(store).state == "waiting" for t in rows):
        raise Mistake(f"nothing of {request.page} has run in {store.root}; next: {cli.command_of(request, options)}")
    if isinstance(request, AblationRequest):
        from reports.ablation.page import write

        print(terminal.fitted(write(request, store, options.out)))
    if isinstance(request, SweepRequest):
        from harness.search.storage import default_storage, known_study, trouble_of
        from reports.sweep.page import write as write_sweep

        location = options.storage or default_storage(store.root, request.page)
        with trouble_of(location):
            study = known_study(request, location, store)
            if study is None:
                raise Mistake(f"no study {request.page!r} at {location}; next: {cli.command_of(request, options)}")
            print(terminal.fitted(write_sweep(request, study, location, store, options.out)))
    print(f"next: {cli.next_of(request, options)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
