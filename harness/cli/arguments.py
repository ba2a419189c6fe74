"""Options with the same meaning in every command, and their values."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.names import FIELDS
from harness.cli.parsing import Parser, complete
from harness.execution.demand import Options
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import studies_of
from harness.experiments.scales import SCALES
from harness.experiments.study import Study
from harness.planning.cluster import load as load_cluster
from harness.planning.gpus import GPUS, Pace
from harness.store.runs import Store
from harness.system import paths, plugins
from harness.system.errors import Mistake

RUNS, OUT = Path("runs"), Path("reports/out")
MANY_SEEDS = 100
GROWS_TO = 8  # seeds, unless --max-seeds says otherwise


def add_store(parser: Parser) -> None:
    """The option for the store."""
    parser.add_argument(
        "--runs",
        type=paths.store_path,
        default=RUNS,
        metavar="DIR",
        help="folder of the store (default: runs/)",
    )


def add_out(parser: Parser, what: str) -> None:
    """The option for the folder of `what` a command makes."""
    parser.add_argument(
        "--out",
        type=paths.folder,
        default=OUT,
        metavar="DIR",
        help=f"folder for {what} (default: reports/out)",
    )


def add_study(parser: Parser, positional: bool = True, kind: type[Study] = Study) -> None:
    """STUDY of a kind, the options that choose its experiments, and the folders of the store and of the reports."""
    add_store(parser)
    parser.set_defaults(kind=kind)
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    if positional:
        add_study_name(parser, "name of a study; --list shows all names", kind=kind)
    add_list(parser)
    add_scale(parser, "(default: tiny)", default="tiny")
    data = parser.add_argument("--data", metavar="NAME[:ARGUMENT]", help="data set to use instead of the scale's")
    complete(data, lambda: plugins.names("harness.data.sets"))
    parser.add_argument(
        "--rows", metavar="A,B", help="only these rows, by name or variant; a name with commas counts as one"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 .. N-1 of every row (default: 1)")
    parser.add_argument(
        "--yes", action="store_true", help=f"answer yes to questions, and to more than {MANY_SEEDS} seeds"
    )
    add_fields(parser)
    add_out(parser, "reports")


def add_scale(parser: Parser, ending: str, beginning: str = "", default: str | None = None) -> None:
    """The name of a scale. Its help lists all scales between a beginning and an ending."""
    at = parser.add_argument("--scale", default=default, help=f"{beginning}{', '.join(SCALES)} {ending}")
    complete(at, lambda: list(SCALES))


def add_study_name(parser: Parser, about: str, nargs: str = "?", kind: type[Study] = Study) -> None:
    """STUDY by its name, or by a file of the user's; with `nargs` "*" several names."""
    study = parser.add_argument("study", nargs=nargs, metavar="STUDY", help=about)
    complete(study, lambda: studies_of(kind))
    parser.add_argument(
        "--study", dest="study_file", type=paths.path, metavar="FILE.py", help="a file of your own with a study"
    )


def add_list(parser: Parser) -> None:
    """The options that list names and fields."""
    parser.add_argument(
        "--list",
        nargs="?",
        const="",
        metavar="KIND",
        help="list all names that can be given, or those of one kind",
    )
    parser.add_argument(
        "--fields",
        dest="list",
        action="store_const",
        const=FIELDS,
        help="list the fields of --set: the values that they take, their values at --scale, their meanings",
    )


def add_fields(parser: Parser) -> None:
    """The option that sets fields."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of every experiment; may be given several times; --fields of harness.ablate lists the fields",
    )


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
        help="a tokenizer of your own as a further row, an object with encode and decode, or MODULE:NAME, or NAME of "
        "an installed package; =ARGUMENT if it takes one; or the folder or OWNER/NAME of a published tokenizer; may be "
        "given several times",
    )
    parser.add_argument("--max-seeds", type=int, metavar="N", help=f"with --until-decided (default: {GROWS_TO})")
    for name, what in (
        ("generator", "generators for each tokenizer"),
        ("sampling", "sets of samples of each generator"),
    ):
        parser.add_argument(f"--{name}-seeds", type=int, default=1, metavar="N", help=f"{what} (default: 1)")


def add_sweep(parser: Parser) -> None:
    """The objective of a sweep and its space."""
    objective = parser.add_argument(
        "--objective",
        default="",
        metavar="A[,B]",
        help=f"one or several of {', '.join(OBJECTIVES)}; probe and kl train a tokenizer and measure its latents, rfd "
        "also its reconstructions, gfd also trains a generator (default: the sweep's own)",
    )
    complete(objective, lambda: list(OBJECTIVES))
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
    parser.add_argument("--run", required=True, metavar="ID", help="key of a run of a row, or its first digits")
    add_out(parser, "pictures")


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
    executors = plugins.names("harness.execution.executors")
    executor = parser.add_argument("--executor", default="inline", help=f"{', '.join(executors)} (default: inline)")
    complete(executor, lambda: executors)
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


def add_details(parser: Parser, what: str) -> None:
    """The option for all that the summary leaves out."""
    parser.add_argument("--details", action="store_true", help=f"show more, {what}")


def add_price(parser: Parser) -> None:
    """The options for the cost of a plan, and for its limit."""
    parser.add_argument(
        "--dry-run", action="store_true", help="run nothing; show how many stages are missing, GPU-hours, time and disk"
    )
    add_details(parser, "with --dry-run: every stage, and the resources of its jobs")
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
