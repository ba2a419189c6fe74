"""`python -m harness.sweep STUDY`: looks where in a space an objective is best, with Optuna, and writes its report."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence

from filelock import FileLock, Timeout

from harness import cli, plugins
from harness.asked import Planned, plan_of, remember, require_data
from harness.driver import Driver
from harness.errors import Mistake, Trouble
from harness.estimate import plan_table
from harness.processes import world_size
from harness.progress import TrialLines
from harness.search import (
    ADAPTIVE_TRIALS,
    FOLDER,
    PRUNERS,
    SAMPLERS,
    Search,
    default_storage,
    known_study,
    open_study,
    quiet,
    shown_place,
)
from harness.space import AskedSweep
from harness.store import Store


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("sweep", __doc__.partition(": ")[2])
    cli.add_study(parser)
    cli.add_sweep(parser)
    parser.add_argument("--sampler", metavar="NAME", help=f"{', '.join(SAMPLERS)} (default: the sweep's own)")
    parser.add_argument("--pruner", default="none", metavar="NAME", help=f"{', '.join(PRUNERS)} (default: none)")
    parser.add_argument("--trials", type=int, metavar="N", help="in all, those of earlier commands included")
    cli.add_execution(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the stages, what is cached, time and disk")
    options = parser.parse_args(arguments)
    asked, how, store = asked_of(options), cli.options_of(options), Store(options.runs)
    search = search_of(options, asked, store)
    asked = dataclasses.replace(asked, words=words_of(options))
    executor = plugins.load("harness.executors", options.executor, "executor")
    if options.dry_run:
        print(shown_plan(asked, search, store))
        return 0
    require_data(asked)
    if world_size() > 1:
        raise Mistake("a sweep runs one trial at a time under torchrun or none: cluster.toml gives jobs processes")
    sample = plan_of(asked.trying(asked.middle())).tasks
    how.require_even(sample, None if hasattr(executor, "queue") else 1)
    if hasattr(executor, "require"):
        executor.require(sample, how)

    known_study(asked, search.storage, store)  # whatever is wrong with it
    with alone(asked, store), quiet():
        study = open_study(asked, search.storage, store)
        study.pruner = search.pruner_of(asked.experiment(asked.chosen_rows()[0]).training.steps)
        study.set_user_attr("command", asked.command)
        remember(asked, store)
        at_once = executor.at_once(how) or (None if search.independent else how.workers)
        with TrialLines(how.quiet, live=hasattr(executor, "queue")) as lines:
            driver = Driver(asked, search, study, store, at_once, how.retry_failed, lines)
            executor.execute(driver, store, how)
            driver.wanted()  # tells what ended last

    from reports.sweep import write

    print(write(driver.asked, study, search.storage, store, options.out))
    return ended(driver)


@contextlib.contextmanager
def alone(asked: AskedSweep, store: Store) -> Iterator[None]:
    """As the one driver of a study; raises `Mistake` where there is another, `Trouble` where the storage goes away."""
    from optuna.exceptions import StorageInternalError

    place = store.root / FOLDER / f".{asked.page}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0):
            yield
    except Timeout:
        raise Mistake(f"another command drives {asked.page}; python -m harness.status tells how far it is") from None
    except StorageInternalError as error:
        raise Trouble(f"the storage of {asked.page} failed: {error}. The same command goes on") from None


def asked_of(options: argparse.Namespace) -> AskedSweep:
    """What is asked; raises `Mistake`."""
    if options.study is None and options.space:
        options.study = "own"
    asked = cli.asked(options)
    if not isinstance(asked, AskedSweep):
        raise Mistake(f"{asked.name} is a table: python -m harness.ablate {asked.name} runs it")
    return asked


def search_of(options: argparse.Namespace, asked: AskedSweep, store: Store) -> Search:
    """How to search, by the command and, where it does not say, by the study; raises `Mistake`."""
    if options.trials is not None and options.trials < 1:
        raise Mistake(f"--trials {options.trials}: at least 1")
    gridded = all(a.grid for a in asked.axes)
    sampler = options.sampler or (asked.study.sampler if gridded or not options.space else "tpe")
    storage = options.storage or default_storage(store.root, asked.page)
    search = Search(sampler, options.pruner, 1, storage)
    search.require(asked)
    default = len(asked.grid()) if sampler == "grid" else asked.study.trials or ADAPTIVE_TRIALS
    return dataclasses.replace(search, trials=options.trials or default)


def words_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that say how to search, as they were given; a storage without its password."""
    given = {
        "--sampler": options.sampler,
        "--trials": options.trials,
        "--pruner": options.pruner if options.pruner != "none" else None,
        "--storage": options.storage and shown_place(options.storage),
    }
    return tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))


def shown_plan(asked: AskedSweep, search: Search, store: Store) -> str:
    """What it takes: of a grid every trial, of another sampler one in the middle, as it will choose places later."""
    points = asked.grid()[: search.trials] if search.sampler == "grid" else [asked.middle()]
    planned: Planned = plan_of(dataclasses.replace(asked, points=tuple(points)))
    text = plan_table(planned.tasks, planned.labels, store)
    if search.sampler != "grid":
        text = f"{search.trials} trials by {search.sampler}; one in the middle of the space:\n\n{text}"
    try:
        planned.require_data()
    except Mistake as absent:
        text += f"\nThe keys are provisional: {absent}."
    return text


def ended(driver: Driver) -> int:
    """The exit code; what failed, and what did not come to an end, on standard error."""
    for number, reason in driver.failed().items():
        print(f"trial {number} failed: {reason}", file=sys.stderr)
    for number, name in driver.unfinished().items():
        print(f"trial {number}, {name}, is not finished: the same command goes on", file=sys.stderr)
    if driver.failed():
        print("--retry failed tries again what failed", file=sys.stderr)
    return 1 if driver.failed() or driver.unfinished() else 0


if __name__ == "__main__":
    cli.run(main)
