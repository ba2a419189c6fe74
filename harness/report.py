"""`python -m harness.report STUDY`: rebuilds a report from the store alone; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.store import Store


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report", __doc__.partition(": ")[2])
    cli.add_study(parser)
    options = parser.parse_args(arguments)
    if options.list:
        print(cli.listing())
        return 0
    asked = cli.asked(options)
    by_row = asked.experiments()

    from reports.ablation import write

    print(write(asked, by_row, Store(options.runs), options.out))
    return 0


if __name__ == "__main__":
    cli.run(main)
