"""`python -m harness.report STUDY`: rebuilds a report from the store alone; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.experiments.requests import AskedAblation, AskedSweep
from harness.store.runs import Store
from harness.system.errors import Mistake


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report", __doc__.partition(": ")[2])
    cli.add_study(parser)
    cli.add_sweep(parser)
    cli.add_storage(parser)
    options = parser.parse_args(arguments)
    planned, store = cli.planned(options), Store(options.runs)
    asked = planned.asked
    if all(t.run_in(store).state == "waiting" for t in planned.tasks):
        raise Mistake(f"nothing of this is in {store.root}: {asked.command} runs it")
    if isinstance(asked, AskedAblation):
        from reports.ablation.page import write

        print(write(asked, store, options.out))
    if isinstance(asked, AskedSweep):
        from harness.search.storage import default_storage, known_study, trouble_of
        from reports.sweep.page import write as write_sweep

        place = options.storage or default_storage(store.root, asked.page)
        with trouble_of(place):
            study = known_study(asked, place, store)
            if study is None:
                raise Mistake(f"no study {asked.page!r} at {place}: {asked.command} makes it")
            print(write_sweep(asked, study, place, store, options.out))
    return 0


if __name__ == "__main__":
    cli.run(main)
