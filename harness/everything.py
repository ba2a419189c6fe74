"""`python -m harness.everything`: runs the missing stages of every study, each once, and writes all pages."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from harness import ablate, cli, sweep
from harness.execution.demand import Fixed, Options
from harness.experiments.requests import AblationRequest, SweepRequest, study_called
from harness.experiments.scales import first_meaningful, scale
from harness.experiments.sweep import Sweep
from harness.networks.roles import require_weights
from harness.planning.costs import Price, plan_text, price, require_disk, require_gpu_hours
from harness.planning.gpus import Pace
from harness.planning.plan import Plan, opened_data, plan_of
from harness.planning.request_log import remember
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake
from harness.system.processes import world_size

NAMED = 3  # studies in the label of a stage


@dataclass(frozen=True)
class Planned:
    """A study, its request, its plan, how often the plan is needed, and the price of one."""

    name: str
    request: AblationRequest | SweepRequest
    plan: Plan
    times: int
    price: Price


@cli.going_on()
def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("everything")
    cli.add_study(parser)
    cli.add_execution(parser)
    cli.add_price(parser)
    options = parser.parse_args(arguments)
    if options.study not in (None, "all") or options.rows:
        raise Mistake("all studies run with all their rows: --scale, --data, --seeds and --set are for all of them")
    if world_size() > 1:
        raise Mistake("all studies do not run under torchrun: cluster.toml gives jobs several processes")
    scale(options.scale), cli.absolute_data(options.data), cli.fields_of(options)  # one line, not one for every study
    run_options, pace, store = cli.options_of(options), cli.pace_of(options), Store(options.runs)
    paths.require_writable(options.runs, options.out)
    executor = plugins.load("harness.execution.executors", options.executor, "executor")
    studies, refused = _studies(options, store, pace)
    labels = _labels(studies)
    said = opened_data([study.request for study in studies], store) if options.dry_run else []
    print(*said, _prices(studies, pace), sep="\n\n")
    if options.dry_run:
        print(f"\n{plan_text(list(labels), labels, store, run_options.cluster, pace, details=options.details)}")
    again = sum(study.price.gpu_hours * (study.times - 1) for study in studies)  # of sweeps that choose their points
    limit = options.max_gpu_hours
    waiting = run_options.to_run(list(labels), store)
    require_gpu_hours(waiting, pace, limit and max(0.0, limit - again))
    if options.dry_run:
        cli.say_next(cli.everything_of(options))
        return 0
    require_disk(waiting, store, options.yes)

    _share([study for study in studies if study.times == 1], executor, store, run_options)
    paths.make_folders(options.runs, options.out)
    words = [word for word in arguments if word != "all"]
    failed = [*refused, *(study.name for study in studies if _runs(study, words) != 0)]
    from reports.pages import index

    for name in failed:
        print(f"{name}: not all of it is done, see above", file=sys.stderr)
    print(f"{len(_names()) - len(failed)} of {len(_names())} studies are done.")
    print(index.write(options.out))
    cli.say_next(_next(options))
    return 1 if failed else 0


def _next(options: argparse.Namespace) -> str:
    """The command to type when all studies have run: at a scale whose numbers mean nothing, the same at another one."""
    if not scale(options.scale).meaningless:
        return cli.judgement_of(options)
    name = first_meaningful().experiment.scale
    return cli.everything_of(argparse.Namespace(**vars(options) | {"scale": name}))


def _studies(options: argparse.Namespace, store: Store, pace: Pace) -> tuple[list[Planned], list[str]]:
    """The studies, the cheapest first, and the names of those that cannot have these settings.

    Raises `Mistake` if none can have them.
    """
    studies: list[Planned] = []
    refused: dict[str, str] = {}
    for name in _names():
        try:
            studies.append(_planned(name, options, store, pace))
        except Mistake as mistake:
            refused[name] = str(mistake)
    cli.report_left_out(refused, of=len(_names()))
    return sorted(studies, key=lambda study: study.price.gpu_hours * study.times), list(refused)


def _share(studies: Sequence[Planned], executor: ModuleType, store: Store, options: Options) -> None:
    """Runs the stages of studies whose points are known, all as one demand: processes and jobs do not wait for a study.

    What a study lacks is told by its own command, which finds the rest done.
    """
    ready = []
    for study in studies:
        with contextlib.suppress(Mistake):
            study.plan.require_data()
            require_weights(options.to_run(study.plan.tasks, store))
            ready.append(study)
    labels = _labels(ready)
    waiting = options.to_run(list(labels), store)
    if not waiting:
        return
    options.require(executor, waiting, store)
    for study in ready:
        remember(study.request, store)
    if not options.quiet:
        print("Pages follow after the last stage. Before that, harness.report writes any of them.", file=sys.stderr)
    executor.execute(Fixed(labels), store, options)


def _labels(studies: Sequence[Planned]) -> dict[Task, str]:
    """The stages of all studies, each once, with the studies that read it."""
    readers: dict[Task, list[str]] = {}
    for study in studies:
        for t in study.plan.tasks:
            readers.setdefault(t, []).append(study.name)
    return {t: ", ".join(names) if len(names) <= NAMED else f"{len(names)} studies" for t, names in readers.items()}


def _prices(studies: Sequence[Planned], pace: Pace) -> str:
    """The table of what every study would cost alone."""
    lines = [
        (study.name, len(study.plan.tasks), study.price.missing, f"{study.price.gpu_hours:.3g}", study.times)
        for study in studies
    ]
    table = terminal.table(lines, ("study", "stages", "missing", "GPU-hours", "times"))
    return f"{table}\n\n" + terminal.prose(f"GPU-hours are on one {pace}. Stages that studies share are made once.")


def _names() -> list[str]:
    """The names of all studies that declare what they run."""
    known = {name: study_called(name) for name in plugins.names("ablations")}
    return [name for name, study in known.items() if not isinstance(study, Sweep) or study.space]


def _planned(name: str, options: argparse.Namespace, store: Store, pace: Pace) -> Planned:
    own = argparse.Namespace(**vars(options) | {"study": name, "rows": None})
    request: AblationRequest | SweepRequest
    if isinstance(study_called(name), Sweep):
        own = argparse.Namespace(**vars(own) | sweep.DEFAULTS)
        asked = sweep.request_of(own)
        request, times = sweep.ahead(asked, sweep.search_of(own, asked, store))
    else:
        request, times = cli.request_of(own), 1
    plan = plan_of(request)
    return Planned(name, request, plan, times, price(plan.tasks, store, pace))


def _runs(study: Planned, words: Sequence[str]) -> int:
    """Runs one study, as its own command would; what goes wrong in it does not keep the others from running."""
    print(f"\n== {study.name}: {study.request.study.title}", flush=True)
    command = sweep if isinstance(study.request, SweepRequest) else ablate
    return cli.code_of(command.main, [study.name, *words])


if __name__ == "__main__":
    cli.run(main)
