"""`python -m harness.cancel STUDY`: ends the jobs of a study, after showing them and asking."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli, jobs
from harness.store import FINAL, Store


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("cancel", __doc__.partition(": ")[2])
    cli.add_study(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    if options.list:
        print(cli.listing())
        return 0
    planned, store = cli.planned(options), Store(options.runs)
    unfinished = [t for t in planned.tasks if t.run_in(store).state not in FINAL]
    known = {t: job for t in unfinished if (job := jobs.submitted(t.run_in(store))) is not None}
    queue = jobs.in_queue(list(known.values()))
    for t, job in known.items():
        if job in queue:
            print(f"{job.executor} job {job.id}, {queue[job]}: {t.stage} of {planned.labels[t]}")
    if not queue:
        print("no job of this study waits or runs")
        return 0
    question = f"Cancel {len(queue)} jobs, which other studies may want too? What they did stays. [y/N] "
    if not options.yes and not cli.agreed(question):
        print("nothing was cancelled")
        return 0
    jobs.cancel(list(queue))
    print(f"{len(queue)} jobs cancelled")
    return 0


if __name__ == "__main__":
    cli.run(main)
