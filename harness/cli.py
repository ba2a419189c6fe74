"""What all commands share: the options with one meaning everywhere, and exit codes.

0 done; 1 something ran and failed, and which; 2 a mistake in what was asked; 130 interrupted, and how to go on.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.execution.demand import Options
from harness.experiments.experiment import Experiment
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import AblationRequest, SweepRequest, new_request, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.study import Ablation, Study
from harness.experiments.sweep import Sweep
from harness.planning.cluster import load as load_cluster
from harness.planning.gpus import GPUS, Pace
from harness.planning.plan import Plan, plan_of, require_influence
from harness.planning.request_log import remembered_of
from harness.planning.task import experiment_of
from harness.search.samplers import PRUNERS, SAMPLERS
from harness.store.runs import Damaged, Run, Store
from harness.system import plugins
from harness.system.errors import Mistake, Trouble

INTERRUPTED = 130
TOKENIZING = ("generation", "evaluation", "finetuning", "tokenizer")  # stages whose runs stand for a tokenizer


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, like all others, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        given = next((word for word in message.split() if word.startswith("--")), "")
        near = difflib.get_close_matches(given, options, n=1, cutoff=0.6)
        raise Mistake(f"{message}.{f' Did you mean {near[0]!r}?' if near else ''} --help names all options")


class List(argparse.Action):
    """Like `--help`: names what can be given and ends the command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(listing())
        sys.exit(0)


def parser(command: str, about: str) -> Parser:
    """A parser for `python -m harness.COMMAND`."""
    name = f"harness.{command}" if command else "harness"
    return Parser(prog=f"python -m {name}", description=about, allow_abbrev=False)


def add_store(made: Parser) -> None:
    """Where the store is."""
    made.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the store (default: runs/)")


def add_study(made: Parser) -> None:
    """STUDY, all that says which of its experiments are meant, and where the store and the reports are."""
    add_store(made)
    made.add_argument("--quiet", action="store_true", help="no progress")
    made.add_argument("study", nargs="?", metavar="STUDY", help="a study; --list names them")
    made.add_argument("--list", action=List, nargs=0, help="name what can be given")
    made.add_argument("--scale", default="tiny", help=f"{', '.join(SCALES)} (default: tiny)")
    made.add_argument("--data", metavar="NAME[:ARGUMENT]", help="a data set in place of the scale's")
    made.add_argument("--rows", default="", metavar="A,B", help="only these rows, by name or variant")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 .. N-1 of every row (default: 1)")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="set a field of every experiment, checked"
    )
    made.add_argument("--out", type=Path, default=Path("reports/out"), metavar="DIR", help="where reports go")


def add_sweep(made: Parser) -> None:
    """What is looked for in a sweep, and where."""
    made.add_argument(
        "--objective",
        default="",
        metavar="A[,B]",
        help=f"{', '.join(OBJECTIVES)}, or several; probe and kl cost a tokenizer and a look at its latents, rfd its "
        "reconstructions too, gfd a generator (default: the sweep's own)",
    )
    made.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="FIELD=LOW:HIGH[:log]",
        help="a range, or FIELD=A,B,C for values, in place of the sweep's own space; may be given several times",
    )


def add_storage(made: Parser) -> None:
    """Where a sweep's trials are recorded."""
    made.add_argument("--storage", metavar="URL", help="a journal file or any URL of Optuna (default: in the store)")


def add_run(made: Parser) -> None:
    """Which run of the store is meant, and where pictures go."""
    add_store(made)
    made.add_argument("--run", required=True, metavar="ID", help="a run, by its key or the first digits of it")
    made.add_argument("--out", type=Path, default=Path("reports/out"), metavar="DIR", help="where pictures go")


def existing_store(options: argparse.Namespace) -> Store:
    """The store at `--runs`; raises `Mistake` where there is none."""
    if not options.runs.is_dir():
        raise Mistake(f"no store at {options.runs}: --runs names its folder")
    return Store(options.runs)


def add_execution(made: Parser) -> None:
    """Where stages run, and what they get there."""
    made.add_argument(
        "--executor",
        default="inline",
        help=f"{', '.join(plugins.names('harness.execution.executors'))} (default: inline)",
    )
    made.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="jobs at a time, of --executor local; and trials, of a sweep whose sampler learns from results",
    )
    made.add_argument(
        "--cluster", type=Path, metavar="FILE", help="what a job of each stage and scale gets (default: cluster.toml)"
    )
    made.add_argument("--retry", choices=["failed"], help="run again what failed before")


def options_of(options: argparse.Namespace) -> Options:
    """How the execution options say to run; raises `Mistake`."""
    if options.workers < 1:
        raise Mistake(f"--workers {options.workers}: at least 1")
    return Options(load_cluster(options.cluster), options.workers, options.retry == "failed", options.quiet)


def add_price(made: Parser) -> None:
    """What a plan is told to take, and may."""
    made.add_argument(
        "--dry-run", action="store_true", help="show the stages, what is cached, GPU-hours, time and disk"
    )
    made.add_argument("--gpu", default="h100", metavar="NAME", help=f"for GPU-hours: {', '.join(GPUS)} (default: h100)")
    made.add_argument(
        "--mfu", type=float, default=0.3, metavar="SHARE", help="model FLOPs over the GPU's peak (default: 0.3)"
    )
    made.add_argument("--max-gpu-hours", type=float, metavar="H", help="refuse a plan that takes more")


def pace_of(options: argparse.Namespace) -> Pace:
    """The GPU that a plan is told for; raises `Mistake`."""
    if options.max_gpu_hours is not None and not options.max_gpu_hours >= 0:
        raise Mistake(f"--max-gpu-hours {options.max_gpu_hours:g}: at least 0")
    return Pace.named(options.gpu, options.mfu)


@dataclass(frozen=True)
class Made:
    """A finished run, the experiment that it was made for, and the runs that it rests on, itself included, by stage."""

    run: Run
    experiment: Experiment
    runs: dict[str, Run]

    @property
    def decoder(self) -> Run:
        """What decodes: the tokenizer, after fine-tuning where the run rests on that."""
        return self.runs.get("finetuning", self.runs["tokenizer"])


def chosen_run(options: argparse.Namespace, stages: tuple[str, ...]) -> Made:
    """What `--run ID` names; raises `Mistake` where it is no finished run of one of `stages`."""
    store = Store(options.runs)
    run = store.find(options.run)
    if run.stage not in stages:
        raise Mistake(f"{run.key} is a run of the stage {run.stage}, and not of {' or '.join(stages)}")
    if run.state != "done":
        raise Mistake(f"{run.stage} {run.key} is not finished, but {run.state}")
    return Made(run, experiment_of(run), store.rests_on(run))


def request_of(options: argparse.Namespace) -> AblationRequest | SweepRequest:
    """The request that the study options make; raises `Mistake`."""
    objective, space = getattr(options, "objective", ""), tuple(getattr(options, "space", ()))
    if options.study is None and space:
        options.study = "own"
    if options.study is None:
        raise Mistake(f"name a study: {', '.join(plugins.names('ablations'))}")
    if options.seeds < 1:
        raise Mistake(f"--seeds {options.seeds}: at least 1")
    fields = []
    for setting in options.set:
        path, equals, value = setting.partition("=")
        if not (path and equals and value):
            raise Mistake(f"--set {setting}: not of the form FIELD=VALUE")
        fields.append((path, value))
    data, colon, argument = (options.data or "").partition(":")
    data += colon + (str(Path(argument).absolute()) if argument else "")  # a store is used from more than one folder
    of_sweep: dict[str, Any] = {}
    if isinstance(study_called(options.study), Sweep):
        of_sweep = {"objective": objective, "space": space}
    elif objective or space or getattr(options, "storage", None):
        raise Mistake(f"{options.study} is a table: --objective, --space and --storage are of sweeps")
    return new_request(
        options.study,
        scale(options.scale),
        data=data or None,
        fields=tuple(fields),
        rows=tuple(name.strip() for name in options.rows.split(",") if name.strip()),
        seeds=options.seeds,
        **of_sweep,
    )


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan of the request that the study options make; of a sweep, as far as it has come. Raises `Mistake`."""
    request = request_of(options)
    if not isinstance(request, SweepRequest):
        return plan_of(request)
    require_influence(request)
    before = remembered_of(request, Store(options.runs))
    if before is None:
        raise Mistake(f"nothing of {request.page} is in {options.runs}: {request.command} runs it")
    if before.plan is None:
        raise Mistake(before.trouble)
    return before.plan


def agreed(question: str) -> bool:
    """Whether the user at the terminal says yes; no, where nobody is there."""
    if not sys.stdin.isatty():
        print("nobody is there to answer; --yes answers")
        return False
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Calls `main` with the command line and exits by the codes above; a bug keeps its traceback."""
    try:
        code = main(sys.argv[1:])
    except Mistake as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except (Trouble, OSError) as error:
        if isinstance(error, Damaged) and error.run.folder.exists():
            error.run.reset("damaged", str(error))
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def listing() -> str:
    """Studies, scales, variants, data sets and metrics, one line each."""
    from models.variants import VARIANTS

    sections = {
        "studies": _studies(Ablation),
        "sweeps": _studies(Sweep),
        "scales": {name: known.about for name, known in SCALES.items()},
        "variants": {name: variant.about for name, variant in VARIANTS.items()},
        "generators": {name: plugins.summary("models.generators", name) for name in plugins.names("models.generators")},
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
