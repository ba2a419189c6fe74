"""`python -m harness.report STUDY`: rebuilds a report from the store alone; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.errors import Mistake
from harness.store import Store


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report", __doc__.partition(": ")[2])
    cli.add_study(parser)
    options = parser.parse_args(arguments)
    planned, store = cli.planned(options), Store(options.runs)
    if all(t.run_in(store).state == "waiting" for t in planned.tasks):
        raise Mistake(f"nothing of this is in {store.root}: python -m harness.ablate {planned.asked.name} runs it")

    from reports.ablation import write

    print(write(planned.asked, planned.by_row, store, options.out))
    return 0


if __name__ == "__main__":
    cli.run(main)
