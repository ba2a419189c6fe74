"""`python -m harness.ablate STUDY`: runs the missing stages of an ablation and writes its report."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from harness import cli
from harness.execution import rehearsal
from harness.execution.demand import Fixed, Options
from harness.experiments.requests import AblationRequest
from harness.experiments.study import Ablation
from harness.networks.roles import require_weights
from harness.planning.costs import plan_text, require_disk, require_gpu_hours
from harness.planning.gpus import Pace
from harness.planning.plan import Plan, opened_data, plan_of, require_accepted, require_enough
from harness.planning.request_log import remember
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake
from harness.system.processes import leading, world_size
from harness.system.texts import listed

# Options of which a rehearsal knows nothing.
NOT_REHEARSED = (
    *("--dry-run", "--details", "--gpu", "--mfu", "--max-gpu-hours", "--executor", "--workers", "--cluster", "--retry"),
    *("--seeds", "--until-decided", "--max-seeds", "--generator-seeds", "--sampling-seeds"),
)


def main(arguments: Sequence[str]) -> int:
    if "all" in arguments:
        from harness import everything

        return everything.main(arguments)
    parser = cli.parser("ablate")
    cli.add_study(parser, kind=Ablation)
    cli.add_execution(parser)
    cli.add_price(parser)
    cli.add_growth(parser)
    parser.add_argument(
        "--one-step",
        action="store_true",
        help="rehearse every stage at full size on this machine, in a temporary store",
    )
    options = parser.parse_args(arguments)
    if options.one_step and (given := parser.given(options, NOT_REHEARSED)):
        raise Mistake(f"--one-step runs every stage once in this process and keeps nothing: leave out {listed(given)}")
    request = cli.request_of(options)
    assert isinstance(request, AblationRequest)
    code = run(options, request)
    if leading() and not options.one_step:
        cli.say_next(_next(request, options))
    return code


def _next(request: AblationRequest, options: argparse.Namespace) -> str:
    """The command to type next."""
    states = {t.run_in(Store(options.runs)).state for t in plan_of(request).tasks}
    if options.dry_run or states & {"stopped", "damaged"}:
        return cli.command_of(request, options)
    return cli.next_of(request, options, failed="failed" in states)


def run(options: argparse.Namespace, request: AblationRequest) -> int:
    """Runs a request for a table as the options say, and writes its page."""
    run_options, pace = cli.options_of(options), cli.pace_of(options)
    if options.one_step:
        return rehearsal.run(request, options.quiet)
    with cli.going_on():
        return _run(options, request, run_options, pace)


def _run(options: argparse.Namespace, request: AblationRequest, run_options: Options, pace: Pace) -> int:
    """Runs a request in its store."""
    plan = plan_of(dataclasses.replace(request, seeds=request.max_seeds or request.seeds))  # all that it may come to
    require_enough(request)
    paths.require_writable(options.runs, options.out)
    executor = plugins.load("harness.execution.executors", options.executor, "executor")
    store = Store(options.runs)
    waiting = run_options.to_run(plan.tasks, store)
    if options.dry_run:
        said = opened_data([request], store)
        text = plan_text(plan.tasks, plan.labels, store, run_options.cluster, pace, details=options.details)
        print(*said, text, sep="\n\n")
    else:
        plan.require_data()
        require_weights(waiting)
    require_gpu_hours(waiting, pace, options.max_gpu_hours)
    if options.dry_run:
        return 0
    require_disk(waiting, store, options.yes)
    if hasattr(executor, "queue") and world_size() > 1:
        raise Mistake(f"torchrun starts the processes of --executor inline; cluster.toml those of {options.executor}")
    run_options.require(executor, waiting, store)
    if leading():
        paths.make_folders(options.runs, options.out)

    for seeds in request.looks or (request.seeds,):
        now = dataclasses.replace(request, seeds=seeds)
        plan = plan_of(now)
        if leading():
            remember(now, store)
        _execute(plan, executor, store, run_options)
        if leading() and not _told(now, plan, store, options.out):
            return 1
        if not _still_open(now, store):
            break
    return 0


def _execute(plan: Plan, executor: ModuleType, store: Store, run_options: Options) -> None:
    """Runs a plan. Of several data sets those in files come first: if one is refused, nothing is trained."""
    data = {t: label for t, label in plan.labels.items() if t.stage == "data"}
    in_files = {t: label for t, label in data.items() if not _is_drawn(t)}
    if len(data) > 1 and in_files:
        executor.execute(Fixed(in_files), store, run_options)
        if any(t.run_in(store).state != "done" for t in in_files):
            return
    executor.execute(Fixed(plan.labels), store, run_options)


def _is_drawn(data: Task) -> bool:
    module = plugins.load("harness.data.sets", data.experiment.data.name, "data set")
    return getattr(module, "fixed", False)


def _told(request: AblationRequest, plan: Plan, store: Store, out: Path) -> bool:
    """Says what failed, and writes the page; whether all is done. Raises what the stage `data` raised if it refused."""
    from reports.ablation.page import write

    require_accepted(plan.tasks, store)
    states = {t: t.run_in(store).state for t in plan.tasks}
    for t, state in states.items():
        if state not in ("done", "waiting"):  # a waiting stage waits for one that is reported here
            reason = t.run_in(store).status()["reason"]
            print(f"{t.stage} {t.key} of {plan.labels[t]}: {state}, {reason}", file=sys.stderr)
    print(terminal.fitted(write(request, store, out)))
    return plan.is_done(store)


def _still_open(request: AblationRequest, store: Store) -> bool:
    """Whether a study that grows has primary claims that are not decided; every process comes to the same answer."""
    if request.seeds >= request.max_seeds:
        return False

    from reports.claims.verdicts import judge_study, still_open
    from reports.results import load

    claims = still_open(judge_study(request, load(request.experiments(), store, request.stages)))
    if leading():
        print(f"With {request.seeds} seeds {', '.join(claims) or 'no primary claim'} is undecided.")
    return bool(claims)


if __name__ == "__main__":
    cli.run(main)
