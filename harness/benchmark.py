"""`python -m harness.benchmark TOKENIZER...`: puts tokenizers of anybody's into a league table with our own.

TOKENIZER is FILE.py:NAME or MODULE:NAME of an object with encode and decode (`harness.networks.outside` says what it
has to be), or NAME of an installed package, with =ARGUMENT if it takes one, or a published tokenizer of this project:
its folder, or OWNER/NAME. Images that a tokenizer reconstructed elsewhere stand in the table with --pair ORIGINALS
RECONSTRUCTIONS, two folders: only their reconstruction is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import shlex
import time
from collections.abc import Sequence
from statistics import median

from harness import ablate, cli
from harness.evaluation.image_pairs import METRICS, ImagePairs
from harness.experiments.experiment import Experiment
from harness.experiments.requests import AblationRequest
from harness.planning.stage import decoder
from harness.planning.task import task
from harness.store.runs import Damaged, Store
from harness.system import paths, terminal
from harness.system.errors import Mistake, repeated

IMAGES, ROUNDS = 64, 3  # of a measurement of speed


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("benchmark")
    parser.add_argument(
        "tokenizers", nargs="*", metavar="TOKENIZER", help="FILE.py:NAME, MODULE:NAME, NAME, a folder, OWNER/NAME"
    )
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        type=paths.path,
        default=[],
        metavar=("ORIGINALS", "RECONSTRUCTIONS"),
        help="folders of images that a tokenizer reconstructed elsewhere, as a further row; may be given several times",
    )
    cli.add_study(parser, positional=False)
    cli.add_execution(parser)
    cli.add_price(parser)
    cli.add_growth(parser)
    options = parser.parse_args(arguments)
    options.study, options.one_step = "league", False
    options.tokenizer += options.tokenizers
    request = cli.request_of(options)
    assert isinstance(request, AblationRequest)
    by_row = request.experiments()
    first = next(iter(by_row.values()))[0]
    pairs = [ImagePairs(originals, images, first) for originals, images in options.pair]
    if twice := repeated([pair.name for pair in pairs]):
        raise Mistake(f"two folders of --pair are called {twice[0]}: give one of them another name")
    if options.dry_run:
        code = ablate.run(options, request)
        print(f"next: {_command(request, options)}")
        return code
    with contextlib.redirect_stdout(io.StringIO()):  # the page of the study is a file: the league is the answer
        code = ablate.run(options, request)

    from harness.data.splits import open_split
    from harness.evaluation.records import records
    from reports import league
    from reports.results import load

    store = Store(options.runs)
    speeds = {row.name: speed for row, (e, *_) in by_row.items() if (speed := _speed(e, store)) is not None}
    results = load(by_row, store)
    table = league.lines(results, speeds)
    for pair in pairs:
        own = pair.are_of(open_split(task("data", first).run_in(store).folder, "val"))
        table.append(league.line_of_pair(pair.name, records(pair, METRICS), results, own))
    print(terminal.fitted(league.write(table, options.out, request.page)))
    print(options.out / f"{request.page}.md")
    if code:
        print(f"next: {_command(request, options, '--retry', 'failed')}")
    elif request.seeds < cli.SEEDS_WITH_INTERVAL:
        print(f"next: {_command(dataclasses.replace(request, seeds=cli.SEEDS_WITH_INTERVAL), options)}")
    return code


def _command(request: AblationRequest, options: argparse.Namespace, *more: str) -> str:
    """The command that makes the same league table, with further words."""
    _, _, _, _, *words = shlex.split(cli.command_of(request, options, *more))
    for pair in options.pair:
        words += ["--pair", *map(str, pair)]
    return shlex.join(["python", "-m", "harness.benchmark", *words])


def _speed(experiment: Experiment, store: Store) -> tuple[float, float] | None:
    """Images per second of encoder and decoder on this machine, now; None if the tokenizer is not finished.

    None also where a finished run is without its files: other people's results come as text.
    """
    import numpy as np

    from harness.latents.autoencode import decode, encode
    from harness.networks import weights
    from harness.system.machine import this_machine

    run = task(decoder(experiment), experiment).run_in(store)
    if run.state != "done":
        return None
    machine = this_machine()
    try:
        tokenizer = weights.load_tokenizer(experiment, run).to(machine.device)
    except Damaged:
        return None
    side = experiment.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), np.uint8)
    latents = encode(tokenizer, images, machine).mean
    times = {"encode": list[float](), "decode": list[float]()}
    for _ in range(ROUNDS):
        for name, call in (
            ("encode", lambda: encode(tokenizer, images, machine)),
            ("decode", lambda: decode(tokenizer, latents, machine)),
        ):
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return IMAGES / median(times["encode"]), IMAGES / median(times["decode"])


if __name__ == "__main__":
    cli.run(main)
