"""`python -m harness.sweep STUDY`: looks where in a space an objective is best, with Optuna, and writes its report."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from types import ModuleType

from harness import cli
from harness.execution.demand import Options
from harness.experiments.requests import SweepRequest
from harness.networks.roles import require_weights
from harness.planning.costs import plan_table, require_gpu_hours
from harness.planning.gpus import Pace
from harness.planning.plan import Plan, plan_of, require_data, require_influence
from harness.planning.task import tasks
from harness.search.driver import Driver, alone
from harness.search.progress import TrialLines
from harness.search.samplers import ADAPTIVE_TRIALS, PRUNERS, SAMPLERS, Search
from harness.search.storage import (
    default_storage,
    known_study,
    open_study,
    quiet,
    require_place,
    shown_place,
    trouble_of,
)
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.processes import world_size


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("sweep", __doc__.partition(": ")[2])
    cli.add_study(parser)
    cli.add_sweep(parser)
    parser.add_argument("--sampler", metavar="NAME", help=f"{', '.join(SAMPLERS)} (default: the sweep's own)")
    parser.add_argument("--pruner", default="none", metavar="NAME", help=f"{', '.join(PRUNERS)} (default: none)")
    cli.add_storage(parser)
    parser.add_argument("--trials", type=int, metavar="N", help="in all, those of earlier commands included")
    cli.add_execution(parser)
    cli.add_price(parser)
    options = parser.parse_args(arguments)
    request, how, store = request_of(options), cli.options_of(options), Store(options.runs)
    pace = cli.pace_of(options)
    search = search_of(options, request, store)
    request = dataclasses.replace(request, words=words_of(options))
    executor = plugins.load("harness.execution.executors", options.executor, "executor")
    plan, times = plan_ahead(request, search)
    waiting = how.to_run(plan.tasks, store)
    if options.dry_run:
        print(shown_plan(plan, search, store, how, pace))
    else:
        require_data(request)
        require_weights(waiting)
    require_gpu_hours(waiting, pace, options.max_gpu_hours, times)
    if options.dry_run:
        return 0
    if world_size() > 1:
        raise Mistake("a sweep does not run under torchrun: cluster.toml gives jobs several processes")
    base = request.experiment(request.chosen_rows()[0])
    sample = tasks([base], request.stages(base))
    how.require_even(sample, None if hasattr(executor, "queue") else 1)
    if hasattr(executor, "require"):
        executor.require(sample, how)
    require_place(search.storage)
    known_study(request, search.storage, store)  # whatever is wrong with it

    from reports.sweep.page import write

    with trouble_of(search.storage), quiet():
        driver = driven(request, search, executor, how, store)
        print(write(driver.request, driver.study, search.storage, store, options.out))
        troubles = driver.troubles()
    for line in troubles:
        print(line, file=sys.stderr)
    return 1 if troubles else 0


def driven(request: SweepRequest, search: Search, executor: ModuleType, how: Options, store: Store) -> Driver:
    """The driver of a search that has come as far as it can; raises `Mistake` where another one is at work."""
    with alone(request, search, store):
        study = open_study(request, search.storage, store)
        study.pruner = search.pruner_of(request.experiment(request.chosen_rows()[0]).training.steps)
        study.set_user_attr("command", request.command)
        at_once = executor.at_once(how) or (None if search.independent else how.workers)
        with TrialLines(how.quiet, live=hasattr(executor, "queue")) as lines:
            driver = Driver.open(request, search, study, store, at_once, how.retry_failed, lines)
            executor.execute(driver, store, how)
            driver.settle()
    return driver


def request_of(options: argparse.Namespace) -> SweepRequest:
    """The request for a sweep that the options make; raises `Mistake`."""
    request = cli.request_of(options)
    if not isinstance(request, SweepRequest):
        raise Mistake(f"{request.name} is a table: python -m harness.ablate {request.name} runs it")
    require_influence(request)
    return request


def search_of(options: argparse.Namespace, request: SweepRequest, store: Store) -> Search:
    """How to search, by the command and, where it does not say, by the study; raises `Mistake`."""
    if options.trials is not None and options.trials < 1:
        raise Mistake(f"--trials {options.trials}: at least 1")
    gridded = all(a.grid for a in request.axes)
    sampler = options.sampler or (request.study.sampler if gridded or not options.space else "tpe")
    trials = options.trials or (len(request.grid()) if sampler == "grid" else request.study.trials or ADAPTIVE_TRIALS)
    search = Search(sampler, options.pruner, trials, options.storage or default_storage(store.root, request.page))
    search.require(request)
    return search


def words_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that say how to search, as they were given; a storage without its password."""
    given = {
        "--sampler": options.sampler,
        "--trials": options.trials,
        "--pruner": options.pruner if options.pruner != "none" else None,
        "--storage": options.storage and shown_place(options.storage),
    }
    return tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))


def plan_ahead(request: SweepRequest, search: Search) -> tuple[Plan, int]:
    """The plan of every trial of a grid; of another sampler, which chooses places later, of one in the middle, and how
    many like it there are.
    """
    if search.sampler == "grid":
        return plan_of(dataclasses.replace(request, points=tuple(request.grid()[: search.trials]))), 1
    return plan_of(dataclasses.replace(request, points=(request.middle(),))), search.trials


def shown_plan(plan: Plan, search: Search, store: Store, how: Options, pace: Pace) -> str:
    """What it takes, as text."""
    text = plan_table(plan.tasks, plan.labels, store, how.cluster, pace)
    if search.sampler != "grid":
        text = f"{search.trials} trials by {search.sampler}; one in the middle of the space:\n\n{text}"
    try:
        plan.require_data()
    except Mistake as absent:
        text += f"\nThe keys are provisional: {absent}."
    return text


if __name__ == "__main__":
    cli.run(main)
