"""The benchmark from Python: `harness.results`, `harness.load_tokenizer` and `harness.run`.

All three raise `harness.system.errors.Mistake` for a wrong request and `Trouble` for what goes wrong on the way, in one
sentence and without the calls inside.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from harness import ablate, cli, sweep
from harness.claims import seeds_in
from harness.experiments.requests import AblationRequest, Request, SweepRequest, new_request
from harness.experiments.scales import scale as scale_called
from harness.experiments.seeds import MOST_SEEDS
from harness.planning.request_log import remembered_request
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake, Trouble

if TYPE_CHECKING:
    import pandas as pd

    from harness.hub.tokenizer import PretrainedTokenizer
    from reports.results import Result

P = ParamSpec("P")
R = TypeVar("R")
KINDS: dict[Any, str] = {
    str: "text",
    (str, Path): "a path",
    int: "a whole number",
    Mapping: "a dictionary of values by field",
}
COLUMNS = (
    *("study", "row", "seed", "generator_seed", "sampling_seed", "stage", "run"),
    *("split", "step", "metric", "value", "N", "protocol"),
)


def _plainly(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors for users have no traceback of ours."""

    @functools.wraps(function)
    def called(*given: P.args, **named: P.kwargs) -> R:
        try:
            return function(*given, **named)
        except Mistake as error:
            raise Mistake(str(error)) from None
        except (Trouble, OSError) as error:
            raise Trouble(str(error)) from None

    return called


@_plainly
def results(
    study: str,
    *,
    scale: str = "tiny",
    rows: Sequence[str] = (),
    data: str | None = None,
    fields: Mapping[str, object] | None = None,
    runs: str | Path = "runs",
) -> pd.DataFrame:
    """The numbers of a study in the store `runs`, one to a line; nothing is run.

    The arguments are those of `run`. The seeds are those that were requested, else those that are finished. `stage` is
    what measured a number, in the run with the key `run`, over `N` images of `split`, after `step` steps of training;
    numbers may be compared if their `protocol` is the same id. Rows share runs, so a number may stand in several rows.
    What is not finished has no numbers.
    """
    import pandas as pd

    from reports.results import load

    _require((str, Path), runs=runs)
    store = cli.existing_store(argparse.Namespace(runs=Path(runs)))
    request = _as_found(_request(study, scale, rows, data, fields), store)
    of_rows = load(request.experiments(), store, request.stages)
    return pd.DataFrame(
        [(study, *line) for first in of_rows for r in (first, *first.repeats) for line in _lines(r)], columns=COLUMNS
    )


def _lines(r: Result) -> Iterator[tuple[Any, ...]]:
    """The lines of one row and seed, without the study."""
    e = r.experiment
    for stage, of_stage in r.runs.items():
        for n in r.records(stage):
            about = r.row.name, e.seed, e.seed_of_generator, e.seed_of_samples, stage, of_stage.key
            yield *about, n.split, n.step, n.metric, n.value, n.n, n.protocol_id


@_plainly
def load_tokenizer(name: str | Path, *, runs: str | Path = "runs") -> PretrainedTokenizer:
    """A trained tokenizer, frozen, on the CPU: images x (B, 3, S, S) in [-1, 1] <-> latents z (B, L, Z).

    `name` is the folder of a published tokenizer, OWNER/NAME on the Hugging Face hub, or the key of a run in the store
    `runs` or its first digits. `encode(x)` returns the posterior's mode z, or a sample; `decode(z)` images;
    `reconstruct(x)` does both. `.to("cuda")` moves it.
    """
    from harness.tokenize import tokenizer_of

    _require((str, Path), name=name, runs=runs)
    plugins.find()
    return tokenizer_of(argparse.Namespace(run=str(name), runs=Path(runs)))[0]


@_plainly
def run(
    study: str,
    *options: str,
    scale: str = "tiny",
    rows: Sequence[str] = (),
    seeds: int = 1,
    data: str | None = None,
    fields: Mapping[str, object] | None = None,
    runs: str | Path = "runs",
    out: str | Path = "reports/out",
    quiet: bool = True,
) -> Path:
    """Runs what a study misses in the store `runs`, writes its page below `out`, and returns the path of the page.

    It is `python -m harness.ablate`, or `harness.sweep` for a sweep. `rows` are names of rows or of variants (default:
    all), `data` is NAME or NAME:ARGUMENT (default: the scale's), `fields` are values by dotted path, as for `--set`.
    `options` are further words of the command, such as "--workers", "2". `quiet` prints neither progress nor tables.
    Raises `Trouble` if a stage fails.
    """
    _require((str, Path), runs=runs, out=out)
    for word in options:
        _require(str, options=word)
    request = _request(study, scale, rows, data, fields, seeds)
    words = [study, *request.options, "--runs", str(runs), "--out", str(out), *(["--quiet"] if quiet else []), *options]
    command = sweep if isinstance(request, SweepRequest) else ablate
    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        code = command.main(words)
    if code:
        raise Trouble(f"{study} is not done: the page {request.page} says why")
    return Path(out) / f"{request.page}.md"


def _request(
    study: str,
    scale: str,
    rows: Sequence[str],
    data: str | None,
    fields: Mapping[str, object] | None,
    seeds: int = 1,
) -> AblationRequest | SweepRequest:
    _require(str, study=study, scale=scale, data="" if data is None else data)
    _require(Mapping, fields={} if fields is None else fields)
    _require(int, seeds=seeds)
    if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
        raise Mistake(f"rows is {rows!r}: a list of names is needed, such as ['mactok']")
    if not 1 <= seeds <= MOST_SEEDS:
        raise Mistake(f"seeds is {seeds}: at least 1, at most {MOST_SEEDS:,}")
    plugins.find()
    texts = tuple((path, cli.absolute_field(path, str(value))) for path, value in (fields or {}).items())
    return new_request(
        study, scale_called(scale), data=cli.absolute_data(data), fields=texts, rows=tuple(rows), seeds=seeds
    )


def _require(kind: Any, **given: object) -> None:
    """Raises `Mistake` for an argument that is of another kind."""
    for name, value in given.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise Mistake(f"{name} is {value!r}: {KINDS[kind]} is needed")


def _as_found(request: AblationRequest | SweepRequest, store: Store) -> Request:
    """The request with the seeds and points that the store has. Raises `Mistake` for a sweep that it does not know."""
    before = remembered_request(request, store)
    if before is not None and before.plan is not None:
        return before.plan.request
    if isinstance(request, SweepRequest):
        raise Mistake(f"{store.root} has no trials of {request.page}: {request.command} makes them")
    return dataclasses.replace(request, seeds=max(1, seeds_in(request, store)))
