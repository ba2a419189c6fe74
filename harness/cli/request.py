"""The request that the study options of a command describe, and its plan."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.cli.arguments import GROWS_TO, MANY_SEEDS, OUT, RUNS
from harness.data.image_files import shown
from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import (
    AblationRequest,
    Request,
    SweepRequest,
    new_request,
    studies_of,
    study_called,
)
from harness.experiments.scales import SCALES, first_meaningful, scale
from harness.experiments.seeds import MOST_REPEATS, MOST_SEEDS, looks
from harness.experiments.study import Study
from harness.experiments.sweep import Sweep
from harness.planning.plan import Plan, plan_of, require_influence
from harness.planning.request_log import remembered_request
from harness.store.runs import Store
from harness.system import paths, plugins
from harness.system.errors import Mistake

# Where a request runs, by default.
PLACES = {"runs": RUNS, "out": OUT, "executor": "inline", "workers": None, "cluster": None, "storage": None}
R = TypeVar("R", bound=Request)
SEEDS_WITH_INTERVAL = 3  # with fewer, intervals over seeds are too wide to decide a claim


def request_of(options: argparse.Namespace) -> AblationRequest | SweepRequest:
    """The request that the study options describe. Raises `Mistake`."""
    objective, space = getattr(options, "objective", ""), tuple(getattr(options, "space", ()))
    if options.study is None and space:
        options.study = "own"
    if options.study is None:
        raise Mistake(f"name a study: {', '.join(studies_of(options.kind))}")
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise Mistake(f"--seeds {options.seeds}: at least 1, at most {MOST_SEEDS:,}")
    if options.seeds > MANY_SEEDS and not options.yes:
        raise Mistake(f"--seeds {options.seeds} plans every row {options.seeds:,} times: --yes, if that is meant")
    fields = fields_of(options)
    if options.data is not None and not options.data.strip():
        raise Mistake("--data names no data set: NAME or NAME:ARGUMENT")
    special: dict[str, Any] = {}
    if isinstance(study_called(options.study, options.kind), Sweep):
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
        data=absolute_data(options.data),
        fields=fields,
        seeds=looks(growth)[0] if growth else options.seeds,
        **special,
    )
    made = request()
    if (sources := getattr(options, "tokenizer", [])) and isinstance(made, SweepRequest):
        raise Mistake(f"{options.study} is a sweep: only tables take --tokenizer")
    if sources:
        side = made.experiment(made.study.rows[0]).data.image_size
        made = request(tokenizers=tuple(_outside_row(source, side) for source in sources))
    return made if options.rows is None else dataclasses.replace(made, rows=_rows_of(options.rows, made.study))


def fields_of(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The fields that --set gives, and their values. Raises `Mistake`."""
    fields: dict[str, str] = {}
    for setting in options.set:
        path, equals, value = setting.partition("=")
        if not (path and equals and value):
            raise Mistake(f"--set {setting}: not of the form FIELD=VALUE")
        value = absolute_field(path, value)
        if fields.setdefault(path, value) != value:
            raise Mistake(f"--set gives {path} two values: {fields[path]} and {value}")
    return tuple(fields.items())


def _rows_of(text: str, study: Study) -> tuple[str, ...]:
    """The rows that `--rows` names. Raises `Mistake` if it names none."""
    if not (names := study.names_in(text)):
        raise Mistake(f"--rows {text!r} names no row")
    return names


def absolute_data(text: str | None) -> str | None:
    """NAME:ARGUMENT with an absolute path, as commands for one store may run in several folders.

    The argument of a set that is drawn is no path. Raises `Mistake` if there is no such data set or nothing at a path:
    only data that nobody typed, those of a scale or of the file of a study, may be on another machine.
    """
    if not text:
        return None
    name, colon, argument = text.partition(":")
    if hasattr(plugins.load("harness.data.sets", name, "data set"), "fixed") or not argument:
        return text
    path = Path(argument).expanduser().absolute()
    if why := paths.why_too_long(path):
        raise Mistake(f"data set {name}: {why}")
    if not path.exists():
        raise Mistake(f"data set {name}: {shown(argument)} is not there")
    return f"{name}{colon}{path}"


def absolute_field(path: str, value: str) -> str:
    """The value of a field, with an absolute path if it names a data set."""
    return absolute_data(value) or "" if path == "evaluation.transfer" else value


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
    if not any(claim.primary for claim in study_called(options.study).claims):
        raise Mistake(f"{options.study} has no claim that seeds could decide: --seeds N instead of --until-decided")
    if options.seeds > 1:
        raise Mistake("--until-decided chooses the number of seeds: --max-seeds instead of --seeds")
    most = looks(GROWS_TO if most is None else most)[-1]
    if most > MOST_SEEDS:
        raise Mistake(f"--max-seeds {most}: at most {MOST_SEEDS:,}")
    if most > MANY_SEEDS and not options.yes:
        raise Mistake(f"--max-seeds {most} may plan every row {most:,} times: --yes, if that is meant")
    return most


def command_of(request: Request, options: argparse.Namespace, *words: str) -> str:
    """The command that runs a request in the same folders and by the same executor, with further words."""
    places = [name for name in PLACES if name != "storage" or "--storage" not in request.command]
    agreed = ["--yes"] if getattr(options, "yes", False) else []
    return shlex.join([*_as_typed(request, options), *_places(options, *places), *agreed, *words])


def _as_typed(request: Request, options: argparse.Namespace) -> list[str]:
    """The command of a request, as words: a file of the user's is `--study` again, plug-ins are named from here."""
    python, option, module, name, *words = shlex.split(request.command)
    file: Path | None = getattr(options, "study_file", None)
    for place in plugins.places():
        at = words.index(place)
        if file is not None and place == str(file.absolute()):
            del words[at - 1 : at + 1]
        else:
            words[at] = paths.from_here(place)
    return [python, option, module, *([name] if file is None else ["--study", str(file)]), *words]


def report_of(request: Request, options: argparse.Namespace) -> str:
    """The command that writes the page of a request from the store."""
    python, option, _, *words = _as_typed(request, options)
    return shlex.join([python, option, "harness.report", *words, *_places(options, "runs", "out", "storage")])


def next_of(request: Request, options: argparse.Namespace, failed: bool = False) -> str:
    """The command to type after a request has run: a retry, a further request, or the judgement on the claims."""
    if failed:
        return command_of(request, options, "--retry", "failed")
    further = further_of(request)
    return judgement_of(options, request.name) if further is None else command_of(further, options)


def further_of(request: R) -> R | None:
    """The request to make after this one; None if it is enough.

    If its numbers mean nothing, it is the same at the first scale where they do; else it has more seeds.
    """
    if request.scale.meaningless:
        return dataclasses.replace(request, scale=first_meaningful())
    return dataclasses.replace(request, seeds=SEEDS_WITH_INTERVAL) if request.seeds < SEEDS_WITH_INTERVAL else None


def judgement_of(options: argparse.Namespace, *studies: str) -> str:
    """The command that judges the claims of studies, or of all of them."""
    words = [*studies, *_settings(options), *_places(options, "runs")]
    return shlex.join(["python", "-m", "harness.claims", *words])


def everything_of(options: argparse.Namespace) -> str:
    """The command that runs all studies with the same settings in the same places."""
    seeds = ["--seeds", str(options.seeds)] if options.seeds > 1 else []
    agreed = ["--yes"] if options.yes else []
    words = [*_settings(options), *seeds, *_places(options, *PLACES), *agreed]
    return shlex.join(["python", "-m", "harness.everything", *words])


def _settings(options: argparse.Namespace) -> list[str]:
    """The scale, the data, the fields and the plug-ins of a command, as words."""
    words = ["--scale", options.scale]
    words += ["--data", str(absolute_data(options.data))] if options.data else []
    for setting in options.set:
        words += ["--set", setting]
    return [*words, *plugins.words()]


def _places(options: argparse.Namespace, *names: str) -> list[str]:
    """The options of these names that are not their defaults, as words; a storage without its password."""
    given = {name: getattr(options, name, PLACES[name]) for name in names}
    if given.get("storage") is not None:
        from harness.search.storage import without_password

        given["storage"] = without_password(str(given["storage"]))
    return [word for name in names if given[name] != PLACES[name] for word in (f"--{name}", str(given[name]))]


def report_left_out(refused: Mapping[str, str], of: int) -> None:
    """Says which studies cannot have the settings, and why. Raises `Mistake` if none of so many studies can."""
    if refused and len(refused) == of:
        reasons = list(dict.fromkeys(refused.values()))
        raise Mistake(reasons[0] if len(reasons) == 1 else f"no study can have these settings: {reasons[0]}")
    for name, why in refused.items():
        print(f"warning: {name} is left out: {why}", file=sys.stderr)


def nothing_of(request: Request, options: argparse.Namespace) -> Mistake:
    """The error for a request of which nothing has run; it names the scales at which something has."""
    found = _at_other_scales(options)
    has = f"nothing of {request.page} has run in {options.runs}"
    if not found:
        return Mistake(f"{has}; next: {command_of(request, options)}")
    return Mistake(f"{has}, but there are results at {', '.join(found)}; next: {next(iter(found.values()))}")


def _at_other_scales(options: argparse.Namespace) -> dict[str, str]:
    """The command for the page of the same study at every other scale at which a row of it has run."""
    store, found = Store(options.runs), {}
    for name in SCALES:
        with contextlib.suppress(Mistake):  # settings that do not fit there, or a sweep that has not begun
            request = request_of(argparse.Namespace(**vars(options) | {"scale": name}))
            before = remembered_request(request, store) if isinstance(request, SweepRequest) else None
            plan = plan_of(request) if before is None else before.plan
            if name != options.scale and plan is not None and has_run(plan, store):
                found[name] = report_of(request, options)
    return found


def has_run(plan: Plan, store: Store) -> bool:
    """Whether a row of a plan has run. Data, and what is measured on them, may be those of other studies."""
    rows = [t for t in plan.tasks if t.stage == "tokenizer"] or plan.tasks
    return any(t.run_in(store).state != "waiting" for t in rows)


def _has_grown_to(plan: Plan, store: Store) -> bool:
    """Whether a row has run with the last seed of a plan."""
    by_seed = plan.runs_by_seed(store)
    shared = {run.folder for run in by_seed[0]}
    return any(run.state != "waiting" for run in by_seed[max(by_seed)] if run.folder not in shared)


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan of the request that the study options describe; for a sweep, of its trials so far. Raises `Mistake`."""
    request = request_of(options)
    if not isinstance(request, SweepRequest):
        plans = (plan_of(dataclasses.replace(request, seeds=seeds)) for seeds in reversed(request.looks))
        return next((plan for plan in plans if _has_grown_to(plan, Store(options.runs))), plan_of(request))
    require_influence(request)
    before = remembered_request(request, Store(options.runs))
    if before is None:
        raise nothing_of(request, options)
    if before.plan is None:
        raise Mistake(before.trouble)
    return before.plan
