"""`python -m harness.report STUDY`: rebuilds a report from the store alone; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.errors import Mistake
from harness.plan import tasks
from harness.store import Store


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report", __doc__.partition(": ")[2])
    cli.add_study(parser)
    options = parser.parse_args(arguments)
    if options.list:
        print(cli.listing())
        return 0
    asked, store = cli.asked(options), Store(options.runs)
    by_row = asked.experiments()
    planned = tasks([experiment for experiments in by_row.values() for experiment in experiments])
    if all(t.run_in(store).state == "waiting" for t in planned):
        raise Mistake(f"nothing of this is in {store.root}: python -m harness.ablate {asked.name} runs it")

    from reports.ablation import write

    print(write(asked, by_row, store, options.out))
    return 0


if __name__ == "__main__":
    cli.run(main)
