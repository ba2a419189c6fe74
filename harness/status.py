"""`python -m harness.status [STUDY]`: shows how far every stage is, and what went wrong."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from harness import cli
from harness.execution.status import describe, summary, table
from harness.store.runs import UNREADABLE, Store
from harness.system.errors import Mistake
from harness.system.texts import as_typed, listed, printable

WATCH_SECONDS = 2.0
# Options that say nothing without STUDY.
OF_STUDY = ("--scale", "--data", "--rows", "--seeds", "--set", "--objective", "--space")


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser(
        "status", "shows how far every stage is, and what went wrong; without STUDY, for all runs in the store"
    )
    cli.add_study(parser)
    cli.add_sweep(parser)
    cli.add_details(parser, "a table of all stages")
    parser.add_argument("--watch", action="store_true", help="repeat until no stage runs or is queued, or until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.study is not None:
        plan, store = cli.plan_from(options), Store(options.runs)
        if not options.runs.is_dir():
            raise cli.nothing_of(plan.request, options)
        command, of_page = cli.command_of(plan.request, options), f"{plan.request.page}: "
        runs = {t.run_in(store): label for t, label in plan.labels.items()}
    else:
        if given := parser.given(options, OF_STUDY):
            raise Mistake(f"{listed(given)} {'chooses' if len(given) == 1 else 'choose'} runs of a STUDY: name one")
        runs, command, of_page = dict.fromkeys(cli.existing_store(options).runs(), ""), "", ""
    while True:
        lines = describe(runs)
        busy = any(line.state in ("running", "queued") for line in lines)
        if options.json:
            print(json.dumps([asdict(line) for line in lines], indent=1))
        else:
            clear = "\x1b[H\x1b[2J" if options.watch and sys.stdout.isatty() else ""
            shown = [table(lines)] if options.details and lines else []
            idle = command and {line.state for line in lines} & {"waiting", "stopped", "killed", "damaged"}
            parts = [
                *shown,
                f"{of_page}{summary(lines)}",
                *([f"next: {as_typed(command)}"] if idle and not busy else []),
            ]
            print(clear + printable("\n\n".join(parts), "\n"), flush=True)
        if not options.watch or not busy:
            return 1 if any(line.reason == UNREADABLE for line in lines) else 0
        try:
            time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    cli.run(main)
