"""`python -m harness.sweep STUDY`: searches a space for the best value of an objective, and writes its report."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from types import ModuleType

from harness import cli
from harness.execution.demand import WORKERS, Options
from harness.experiments.requests import SweepRequest
from harness.experiments.sweep import Sweep
from harness.networks.roles import require_weights
from harness.planning.costs import plan_text, require_disk, require_gpu_hours
from harness.planning.plan import opened_data, plan_of, require_data, require_enough, require_influence
from harness.planning.task import tasks
from harness.search.driver import Driver, alone
from harness.search.samplers import ADAPTIVE_TRIALS, PRUNERS, SAMPLERS, Search
from harness.search.storage import (
    default_storage,
    known_study,
    open_study,
    quiet,
    require_writable,
    trouble_of,
    without_password,
)
from harness.search.trials import can_retry
from harness.store.runs import Store
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake
from harness.system.processes import world_size
from harness.system.progress import say

DEFAULTS: dict[str, object] = {
    "objective": "",
    "space": [],
    "sampler": None,
    "pruner": "none",
    "trials": None,
    "storage": None,
}


@cli.going_on()
def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("sweep")
    cli.add_study(parser, kind=Sweep)
    cli.add_sweep(parser)
    sampler = parser.add_argument("--sampler", metavar="NAME", help=f"{', '.join(SAMPLERS)} (default: the sweep's own)")
    cli.complete(sampler, lambda: list(SAMPLERS))
    pruner = parser.add_argument(
        "--pruner", default="none", metavar="NAME", help=f"{', '.join(PRUNERS)} (default: none)"
    )
    cli.complete(pruner, lambda: list(PRUNERS))
    cli.add_storage(parser)
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="total number of trials, including those of earlier commands",
    )
    cli.add_execution(parser)
    cli.add_price(parser)
    options = parser.parse_args(arguments)
    request, run_options, store = request_of(options), cli.options_of(options), Store(options.runs)
    pace = cli.pace_of(options)
    search = search_of(options, request, store)
    request = dataclasses.replace(request, words=words_of(options))
    paths.require_writable(options.runs, options.out)
    require_writable(search.storage)
    executor = plugins.load("harness.execution.executors", options.executor, "executor")
    foreseen, times = ahead(request, search)
    plan = plan_of(foreseen)
    waiting = run_options.to_run(plan.tasks, store)
    require_enough(request)
    if options.dry_run:
        said = opened_data([request], store)
        if times > 1:
            said.append(f"{times} trials by {search.sampler}, each counted as one in the middle of the space:")
        text = plan_text(plan.tasks, plan.labels, store, run_options.cluster, pace, times, options.details)
        print(*said, text, sep="\n\n")
    else:
        require_data(request)
        require_weights(waiting)
    require_gpu_hours(waiting, pace, options.max_gpu_hours, times)
    if options.dry_run:
        if "://" not in search.storage:  # a database would get tables
            known_study(request, search.storage, store)
        cli.say_next(cli.command_of(request, options))
        return 0
    require_disk(waiting, store, options.yes, times)
    if world_size() > 1:
        raise Mistake("a sweep does not run under torchrun: cluster.toml gives jobs several processes")
    base = request.experiment(request.chosen_rows()[0])
    sample = tasks([base], request.stages(base))
    run_options.require(executor, sample, store)
    known_study(request, search.storage, store)  # raises `Mistake` if another study is there
    paths.make_folders(options.runs, options.out)

    from reports.sweep.page import write

    with trouble_of(search.storage), quiet():
        driver = driven(request, search, executor, run_options, store)
        troubles = driver.troubles()
        for line in troubles:
            print(line, file=sys.stderr)
        print(terminal.fitted(write(driver.request, driver.study, search.storage, store, options.out)))
        cli.say_next(cli.next_of(request, options, failed=any(map(can_retry, driver.trials.bad()))))
    return 1 if troubles else 0


def driven(request: SweepRequest, search: Search, executor: ModuleType, run_options: Options, store: Store) -> Driver:
    """Runs a search as far as possible and returns its driver. Raises `Mistake` if another command drives it."""
    with alone(request, search, store):
        study = open_study(request, search.storage, store)
        study.pruner = search.pruner_of(request.experiment(request.chosen_rows()[0]).training.steps)
        study.set_user_attr("command", request.command)
        at_once = trials_at_once(request, search, executor, run_options)
        tell = (lambda _: None) if run_options.quiet else say
        driver = Driver.open(request, search, study, store, at_once, run_options.retry_failed, tell)
        executor.execute(driver, store, run_options)
        driver.settle()
    return driver


def trials_at_once(request: SweepRequest, search: Search, executor: ModuleType, run_options: Options) -> int | None:
    """How many trials run at a time; None: no limit.

    Trials that depend on earlier ones, by the sampler or here by the pruner, depend on this number. It is then not
    taken from the machine, so that every machine searches in the same way.
    """
    as_jobs = hasattr(executor, "queue")
    if search.independent and (as_jobs or search.pruner == "none"):
        base = request.experiment(request.chosen_rows()[0])
        limit: int | None = executor.at_once(tasks([base], request.stages(base)), run_options)
        return limit
    return run_options.workers or (WORKERS if as_jobs else 1)


def request_of(options: argparse.Namespace) -> SweepRequest:
    """The request for a sweep that the options describe. Raises `Mistake`."""
    request = cli.request_of(options)
    assert isinstance(request, SweepRequest)
    require_influence(request)
    return request


def search_of(options: argparse.Namespace, request: SweepRequest, store: Store) -> Search:
    """How to search: by the options, else by the defaults of the study. Raises `Mistake`."""
    if options.trials is not None and options.trials < 1:
        raise Mistake(f"--trials {options.trials}: at least 1")
    gridded = all(a.grid for a in request.axes)
    sampler = options.sampler or (request.study.sampler if gridded or not options.space else "tpe")
    trials = options.trials or (len(request.grid()) if sampler == "grid" else request.study.trials or ADAPTIVE_TRIALS)
    search = Search(sampler, options.pruner, trials, options.storage or default_storage(store.root, request.page))
    search.require(request)
    return search


def words_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The search options of the command line, with the storage without its password."""
    given = {
        "--sampler": options.sampler,
        "--trials": options.trials,
        "--pruner": options.pruner if options.pruner != "none" else None,
        "--storage": options.storage and without_password(options.storage),
    }
    return tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))


def ahead(request: SweepRequest, search: Search) -> tuple[SweepRequest, int]:
    """What can be foreseen, and how often it is needed: the points of a grid once, else a middle one for each trial."""
    if search.sampler == "grid":
        return dataclasses.replace(request, points=tuple(request.grid()[: search.trials])), 1
    return dataclasses.replace(request, points=(request.middle(),)), search.trials


if __name__ == "__main__":
    cli.run(main)
