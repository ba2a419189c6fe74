"""Shared by all commands: options with the same meaning everywhere, and exit codes.

Exit codes: 0 done; 1 something failed while it ran; 2 a mistake in the request; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.execution.demand import Options
from harness.experiments.experiment import Experiment
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import (
    AblationRequest,
    OutsideRow,
    SweepRequest,
    new_request,
    study_called,
)
from harness.experiments.scales import SCALES, scale
from harness.experiments.seeds import MOST_REPEATS, MOST_SEEDS, looks
from harness.experiments.study import Ablation, Study
from harness.experiments.sweep import Sweep
from harness.planning.cluster import load as load_cluster
from harness.planning.gpus import GPUS, Pace
from harness.planning.plan import Plan, plan_of, require_influence
from harness.planning.request_log import remembered_request
from harness.planning.task import experiment_of
from harness.search.samplers import PRUNERS, SAMPLERS
from harness.store.runs import Damaged, Run, Store
from harness.system import paths, plugins, surroundings
from harness.system.errors import Mistake, Trouble
from harness.system.texts import printable

INTERRUPTED = 130
MANY_SEEDS = 100
LAYOUTS = "harness.hub.released"
GROWS_TO = 8  # seeds, unless --max-seeds says otherwise
TOKENIZING = ("generation", "evaluation", "finetuning", "tokenizer")  # stages whose runs stand for a tokenizer


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, with the nearest option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, which takes `--option=--` for an empty list."""
        for word in sys.argv[1:] if args is None else args:
            option, equals, value = word.partition("=")
            if equals and value == "--" and option.startswith("-"):
                self.error(f"argument {option}: -- is no value")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        given = next((word for word in message.split() if word.startswith("--")), "")
        given = given.rstrip(":")
        near = [] if given in options else difflib.get_close_matches(given, options, n=1, cutoff=0.6)
        raise Mistake(f"{message}.{f' Did you mean {near[0]!r}?' if near else ''} --help lists all options")


class List(argparse.Action):
    """Like `--help`: lists all possible names and ends the command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(listing())
        sys.exit(0)


def parser(command: str, about: str = "") -> Parser:
    """A parser for `python -m harness.COMMAND`; without `about`, its first line of documentation says what it does."""
    about = about or plugins.summary("harness", command).partition(": ")[2]
    name = f"harness.{command}" if command else "harness"
    return Parser(prog=f"python -m {name}", description=about, allow_abbrev=False)


def add_store(parser: Parser) -> None:
    """The option for the store."""
    parser.add_argument(
        "--runs",
        type=paths.store_path,
        default=Path("runs"),
        metavar="DIR",
        help="folder of the store (default: runs/)",
    )


def _add_out(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--out",
        type=paths.folder,
        default=Path("reports/out"),
        metavar="DIR",
        help=f"folder for {what} (default: reports/out)",
    )


def add_study(parser: Parser, positional: bool = True) -> None:
    """STUDY, the options that choose its experiments, and the folders of the store and of the reports."""
    add_store(parser)
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    if positional:
        parser.add_argument("study", nargs="?", metavar="STUDY", help="name of a study; --list shows all names")
    parser.add_argument(
        "--list", action=List, nargs=0, help="list all studies, scales, variants, data sets, metrics and stages"
    )
    parser.add_argument("--scale", default="tiny", help=f"{', '.join(SCALES)} (default: tiny)")
    parser.add_argument("--data", metavar="NAME[:ARGUMENT]", help="data set to use instead of the scale's")
    parser.add_argument("--rows", metavar="A,B", help="only these rows, by name or variant")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 .. N-1 of every row (default: 1)")
    parser.add_argument(
        "--yes", action="store_true", help=f"answer yes to questions, and to more than {MANY_SEEDS} seeds"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of every experiment; may be given several times",
    )
    _add_out(parser, "reports")


def add_growth(parser: Parser) -> None:
    """The option by which a table gets more seeds until its claims are decided."""
    parser.add_argument(
        "--until-decided",
        action="store_true",
        help="add seeds by planned looks until the primary claims are decided; all looks together err in 5 %%",
    )
    parser.add_argument(
        "--tokenizer",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="a tokenizer of your own as a further row, an object with encode and decode, or MODULE:NAME; =ARGUMENT if "
        "it takes one; may be given several times",
    )
    parser.add_argument("--max-seeds", type=int, metavar="N", help=f"with --until-decided (default: {GROWS_TO})")
    for name, what in (
        ("generator", "generators for each tokenizer"),
        ("sampling", "sets of samples of each generator"),
    ):
        parser.add_argument(f"--{name}-seeds", type=int, default=1, metavar="N", help=f"{what} (default: 1)")


def add_sweep(parser: Parser) -> None:
    """The objective of a sweep and its space."""
    parser.add_argument(
        "--objective",
        default="",
        metavar="A[,B]",
        help=f"one or several of {', '.join(OBJECTIVES)}; probe and kl train a tokenizer and measure its latents, rfd "
        "also its reconstructions, gfd also trains a generator (default: the sweep's own)",
    )
    parser.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="FIELD=LOW:HIGH[:log]",
        help="a range, or FIELD=A,B,C for values, instead of the sweep's own space; may be given several times",
    )


def add_storage(parser: Parser) -> None:
    """The storage of a sweep's trials."""
    parser.add_argument(
        "--storage",
        type=paths.location,
        metavar="URL",
        help="journal file or database URL for Optuna (default: a journal in the store)",
    )


def add_run(parser: Parser) -> None:
    """A run of the store, and the folder for pictures."""
    add_store(parser)
    parser.add_argument("--run", required=True, metavar="ID", help="key of a run, or its first digits")
    _add_out(parser, "pictures")


def existing_store(options: argparse.Namespace) -> Store:
    """The store at `--runs`. Raises `Mistake` if it does not exist."""
    if not options.runs.is_dir():
        raise Mistake(f"no store at {options.runs}: --runs names its folder")
    store = Store(options.runs)
    if not store.recognised:
        raise Mistake(f"{options.runs} is no store: nothing in it is of one")
    return store


def add_execution(parser: Parser) -> None:
    """The executor and the resources of its jobs."""
    parser.add_argument(
        "--executor",
        default="inline",
        help=f"{', '.join(plugins.names('harness.execution.executors'))} (default: inline)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="stages at a time on this machine, each with its share of the cores (default: 2 with --executor local; "
        "inline, one for each core at tiny, else one); trials at a time if the sampler learns from results",
    )
    parser.add_argument(
        "--cluster",
        type=paths.path,
        metavar="FILE",
        help="resources of the jobs of each stage and scale (default: cluster.toml)",
    )
    parser.add_argument("--retry", choices=["failed"], help="run failed stages again")


def options_of(options: argparse.Namespace) -> Options:
    """The execution options as one value. Raises `Mistake`."""
    if options.workers is not None and options.workers < 1:
        raise Mistake(f"--workers {options.workers}: at least 1")
    return Options(load_cluster(options.cluster), options.workers, options.retry == "failed", options.quiet)


def add_price(parser: Parser) -> None:
    """The options for the cost of a plan, and for its limit."""
    parser.add_argument(
        "--dry-run", action="store_true", help="run nothing; show the stages, what is cached, GPU-hours, time and disk"
    )
    parser.add_argument(
        "--gpu", default="h100", metavar="NAME", help=f"GPU for the estimate: {', '.join(GPUS)} (default: h100)"
    )
    parser.add_argument(
        "--mfu",
        type=float,
        metavar="SHARE",
        help="expected model FLOPs as a share of the GPU's peak (default: as measured, by stage)",
    )
    parser.add_argument("--max-gpu-hours", type=float, metavar="H", help="refuse a plan that takes more GPU-hours")


def pace_of(options: argparse.Namespace) -> Pace:
    """The GPU and the utilisation for the estimate of a plan. Raises `Mistake`."""
    if options.max_gpu_hours is not None and not options.max_gpu_hours >= 0:
        raise Mistake(f"--max-gpu-hours {options.max_gpu_hours:g}: at least 0")
    return Pace.named(options.gpu, options.mfu)


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, its experiment, and the runs that it rests on, itself included, by stage."""

    run: Run
    experiment: Experiment
    runs: dict[str, Run]

    @property
    def decoder(self) -> Run:
        """The run with the decoder: the fine-tuning if the run rests on one, else the tokenizer."""
        return self.runs.get("finetuning", self.runs["tokenizer"])


def chosen_run(options: argparse.Namespace, stages: tuple[str, ...]) -> FinishedRun:
    """The run that `--run ID` names. Raises `Mistake` if it is not a finished run of one of `stages`."""
    store = Store(options.runs)
    run = store.find(options.run)
    if run.stage not in stages:
        raise Mistake(f"{run.key} is a run of the stage {run.stage}, and not of {' or '.join(stages)}")
    if run.state != "done":
        raise Mistake(f"{run.stage} {run.key} is not finished, but {run.state}")
    return FinishedRun(run, experiment_of(run), store.lineage(run))


def request_of(options: argparse.Namespace) -> AblationRequest | SweepRequest:
    """The request that the study options describe. Raises `Mistake`."""
    objective, space = getattr(options, "objective", ""), tuple(getattr(options, "space", ()))
    if options.study is None and space:
        options.study = "own"
    if options.study is None:
        raise Mistake(f"name a study: {', '.join(plugins.names('ablations'))}")
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise Mistake(f"--seeds {options.seeds}: at least 1, at most {MOST_SEEDS:,}")
    if options.seeds > MANY_SEEDS and not options.yes:
        raise Mistake(f"--seeds {options.seeds} plans every row {options.seeds:,} times: --yes, if that is meant")
    fields: dict[str, str] = {}
    for setting in options.set:
        path, equals, value = setting.partition("=")
        if not (path and equals and value):
            raise Mistake(f"--set {setting}: not of the form FIELD=VALUE")
        if fields.setdefault(path, value) != value:
            raise Mistake(f"--set gives {path} two values: {fields[path]} and {value}")
    rows = tuple(name.strip() for name in (options.rows or "").split(",") if name.strip())
    if options.rows is not None and not rows:
        raise Mistake(f"--rows {options.rows!r} names no row")
    if options.data is not None and not options.data.strip():
        raise Mistake("--data names no data set: NAME or NAME:ARGUMENT")
    data, colon, argument = (options.data or "").partition(":")
    # Absolute, because commands for one store may run in several folders.
    data += colon + (_absolute(data, argument) if argument else "")
    special: dict[str, Any] = {}
    if isinstance(study_called(options.study), Sweep):
        special = {"objective": objective, "space": space}
    elif objective or space or getattr(options, "storage", None):
        raise Mistake(f"{options.study} is an ablation: only sweeps take --objective, --space and --storage")
    growth = _growth_of(options)
    repeats = {f"{name}_seeds": getattr(options, f"{name}_seeds", 1) for name in ("generator", "sampling")}
    for name, number in repeats.items():
        if not 1 <= number <= MOST_REPEATS:
            raise Mistake(f"--{name.replace('_', '-')} {number}: at least 1, at most {MOST_REPEATS}")
    if not special:
        special = {"max_seeds": growth, **repeats}
    elif growth or max(repeats.values()) > 1:
        raise Mistake(
            f"{options.study} is a sweep: only tables take --until-decided and seeds of generators and samples"
        )
    request = functools.partial(
        new_request,
        options.study,
        scale(options.scale),
        data=data or None,
        fields=tuple(fields.items()),
        rows=rows,
        seeds=looks(growth)[0] if growth else options.seeds,
        **special,
    )
    made = request()
    if sources := getattr(options, "tokenizer", []):
        side = made.experiment(made.study.rows[0]).data.image_size
        made = request(tokenizers=tuple(_outside_row(source, side) for source in sources))
    return made


def _absolute(name: str, argument: str) -> str:
    """The argument of a data set: an absolute path, unless the set is drawn and no files are read."""
    drawn = name in plugins.names("harness.data.sets") and hasattr(
        plugins.load("harness.data.sets", name, "data set"), "fixed"
    )
    return argument if drawn else str(Path(argument).expanduser().absolute())


def _outside_row(source: str, image_size: int) -> OutsideRow:
    """The row of a tokenizer from outside, which is tried on images of this size. Raises `Mistake`."""
    from harness.networks import outside

    source = outside.absolute(source)
    return OutsideRow(source, *outside.tried(source, image_size))


def _growth_of(options: argparse.Namespace) -> int:
    """The number of seeds up to which the request grows; 0 for a fixed number. Raises `Mistake`."""
    until_decided, most = getattr(options, "until_decided", False), getattr(options, "max_seeds", None)
    if not until_decided:
        if most is not None:
            raise Mistake("--max-seeds ends what --until-decided begins: name both")
        return 0
    if options.seeds > 1:
        raise Mistake("--until-decided chooses the number of seeds: --max-seeds instead of --seeds")
    most = GROWS_TO if most is None else most
    if most > MOST_SEEDS:
        raise Mistake(f"--max-seeds {most}: at most {MOST_SEEDS:,}")
    if most > MANY_SEEDS and not options.yes:
        raise Mistake(f"--max-seeds {most} may plan every row {most:,} times: --yes, if that is meant")
    return most


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan of the request that the study options describe; for a sweep, of its trials so far. Raises `Mistake`."""
    request = request_of(options)
    if not isinstance(request, SweepRequest):
        before = remembered_request(request, Store(options.runs)) if request.looks else None
        grown = before.plan.request.seeds if before is not None and before.plan is not None else request.seeds
        return plan_of(dataclasses.replace(request, seeds=grown))
    require_influence(request)
    before = remembered_request(request, Store(options.runs))
    if before is None:
        raise Mistake(f"{options.runs} has no runs of {request.page}: {request.command} runs it")
    if before.plan is None:
        raise Mistake(before.trouble)
    return before.plan


def agreed(question: str) -> bool:
    """Whether the user at the terminal says yes. Without a terminal the answer is no."""
    if not sys.stdin.isatty():
        print("there is no terminal to ask the question; --yes answers it")
        return False
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Calls `main` with the command line and exits with one of the codes above. A bug keeps its traceback."""

    def whole(arguments: Sequence[str]) -> int:
        surroundings.prepare()
        code = main(arguments)
        sys.stdout.flush()
        return code

    try:
        code = code_of(whole, sys.argv[1:])
    except BrokenPipeError:  # the reader of the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def code_of(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of a command; mistakes and troubles are printed in one line."""
    try:
        return main(arguments)
    except BrokenPipeError:
        raise
    except Mistake as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except (Trouble, OSError) as error:
        if isinstance(error, Damaged) and error.run.folder.exists():
            with contextlib.suppress(OSError):  # the store of another user
                error.run.reset("damaged", str(error))
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1


def listing() -> str:
    """Studies, scales, variants, data sets and metrics, one line each."""
    from models.variants import VARIANTS

    sections = {
        "studies": _studies(Ablation),
        "sweeps": _studies(Sweep),
        "scales": {name: known.about for name, known in SCALES.items()},
        "variants": {name: variant.about for name, variant in VARIANTS.items()},
        "tokenizers": {name: plugins.summary("models.tokenizers", name) for name in plugins.names("models.tokenizers")},
        "generators": {name: plugins.summary("models.generators", name) for name in plugins.names("models.generators")},
        "layouts of released checkpoints": {name: plugins.summary(LAYOUTS, name) for name in plugins.names(LAYOUTS)},
        "data sets": _abouts("harness.data.sets", "data set"),
        "metrics": _abouts("harness.evaluation.metrics", "metric"),
        "stages": _abouts("harness.stages", "stage"),
        "executors": _abouts("harness.execution.executors", "executor"),
        "objectives": {name: f"{o.title}, {o.better} is better" for name, o in OBJECTIVES.items()},
        "samplers": SAMPLERS,
        "pruners": PRUNERS,
    }
    lines = []
    for title, entries in sections.items():
        width = max(map(len, entries))
        lines += [f"{title}:", *(f"  {name:<{width}}  {about}" for name, about in entries.items()), ""]
    return "\n".join(lines).rstrip()


def _studies(kind: type[Study]) -> dict[str, str]:
    declared = {name: study_called(name) for name in plugins.names("ablations")}
    return {name: study.title for name, study in declared.items() if isinstance(study, kind)}


def _abouts(package: str, kind: str) -> dict[str, str]:
    return {name: plugins.load(package, name, kind).about for name in plugins.names(package)}
