"""`python -m harness.cancel STUDY`: ends the jobs of a study, after listing them and asking."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.execution import jobs


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("cancel")
    cli.add_study(parser)
    cli.add_sweep(parser)
    options = parser.parse_args(arguments)
    plan, store = cli.plan_from(options), cli.existing_store(options)
    rows = {t.run_in(store): label for t, label in plan.labels.items()}
    alive = jobs.alive(rows)
    for run, (job, state) in alive.items():
        print(f"{job.executor} job {job.id}, {state}: {run.stage} of {rows[run]}")
    if not alive:
        print("no job of this study waits or runs")
        return 0
    known = list({(job.executor, job.id): job for job, _ in alive.values()}.values())  # a job may have several stages
    question = f"Cancel {len(known)} jobs? Other studies may want them too. Their progress is kept. [y/N] "
    if not options.yes and not cli.agreed(question):
        print("nothing was cancelled")
        return 0
    jobs.cancel(known)
    print(f"{len(known)} jobs cancelled")
    return 0


if __name__ == "__main__":
    cli.run(main)
