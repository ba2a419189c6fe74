"""`python -m harness.benchmark TOKENIZER...`: puts tokenizers of anybody's into a league table with our own.

TOKENIZER is FILE.py:NAME or MODULE:NAME of an object with encode and decode (`harness.networks.outside` says what it
has to be), or NAME of an installed package, with =ARGUMENT if it takes one, or a published tokenizer of this project:
its folder, or OWNER/NAME. Images that a tokenizer reconstructed elsewhere stand in the table with --pair ORIGINALS
RECONSTRUCTIONS, two folders: only their reconstruction is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness import ablate, cli
from harness.evaluation.image_pairs import METRICS, ImagePairs
from harness.experiments.experiment import Experiment
from harness.experiments.requests import AblationRequest
from harness.planning.stage import decoder
from harness.planning.task import task
from harness.store.runs import Damaged, Store
from harness.system import paths, terminal
from harness.system.errors import Mistake, repeated

if TYPE_CHECKING:
    from reports.league.page import Speed

IMAGES, ROUNDS = 64, 9  # of a measurement of speed


@cli.going_on()
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
    if not (options.tokenizer or options.pair or options.rows):
        raise Mistake("name a TOKENIZER, two folders with --pair, or rows of ours with --rows")
    request = cli.request_of(options)
    assert isinstance(request, AblationRequest)
    by_row = request.experiments()
    first = next(iter(by_row.values()))[0]
    pairs = [ImagePairs(originals, images, first) for originals, images in options.pair]
    if twice := repeated([pair.name for pair in pairs]):
        raise Mistake(f"two folders of --pair are called {twice[0]}: give one of them another name")
    if options.dry_run:
        code = ablate.run(options, request)
        cli.say_next(_again(request, options))
        return code
    with contextlib.redirect_stdout(io.StringIO()):  # the page of the study is a file: the league is the answer
        code = ablate.run(options, request)

    from harness.data.splits import open_split
    from harness.evaluation.records import records
    from reports.league import page as league
    from reports.results import load

    store = Store(options.runs)
    results = load(by_row, store)
    speeds = {row.name: speed for row, (e, *_) in by_row.items() if (speed := _speed(e, store)) is not None}
    measured = [
        league.Pair(
            pair.name,
            records(pair, METRICS),
            pair.are_of(open_split(task("data", first).run_in(store).folder, "val")),
        )
        for pair in pairs
    ]
    page = league.Page(request, results, speeds, _how(first), _command(request.options, options), measured)
    print(terminal.fitted(league.write(page, options.out)))
    if code:
        cli.say_next(_again(request, options, "--retry", "failed"))
    elif (further := cli.further_of(request)) is not None:
        cli.say_next(_again(further, options))
    return code


def _again(request: AblationRequest, options: argparse.Namespace, *more: str) -> str:
    """The command that makes a league in the same folders and by the same executor, with further words."""
    _, _, _, _, *words = shlex.split(cli.command_of(request, options, *more))
    return _command(words, options)


def _command(words: Sequence[str], options: argparse.Namespace) -> str:
    """The command that makes a league with these words and the same pairs."""
    pairs = [word for pair in options.pair for word in ("--pair", *(paths.from_here(str(folder)) for folder in pair))]
    return shlex.join(["python", "-m", "harness.benchmark", *words, *pairs])


def _how(experiment: Experiment) -> str:
    """How speeds are measured, in words."""
    from harness.system.environment import environment
    from harness.system.machine import this_machine

    machine, side = this_machine(), experiment.data.image_size
    return (
        f"{IMAGES} images of {side} px in one batch, median [slowest, fastest] of {ROUNDS} rounds, on "
        f"{environment(machine)['processor']} ({machine}; tokenizers from outside in float32), when this "
        "page was made. The peak of memory is that of the process with all its libraries; on a GPU, that of its tensors"
    )


def _speed(experiment: Experiment, store: Store) -> Speed | None:
    """Speeds and memory of encoder and decoder on this machine, now; None if the tokenizer is not finished.

    None also where a finished run is without its files: other people's results come as text.
    """
    import numpy as np

    from harness.benchmarks.measure import MIB, device_mib, forget_device_memory
    from harness.latents.autoencode import decode, encode
    from harness.networks import weights
    from harness.system.machine import forget_peak_memory, peak_memory_bytes, this_machine
    from reports.league.page import Speed

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
    forget_peak_memory()
    forget_device_memory(machine)
    latents = encode(tokenizer, images, machine).mean
    decode(tokenizer, latents, machine)
    peak = device_mib(machine) or peak_memory_bytes() / MIB
    encoded = [_rate(lambda: encode(tokenizer, images, machine)) for _ in range(ROUNDS)]
    return Speed(encoded, [_rate(lambda: decode(tokenizer, latents, machine)) for _ in range(ROUNDS)], peak)


def _rate(call: Callable[[], object]) -> float:
    """Images per second of a call for `IMAGES` images."""
    began = time.perf_counter()
    call()
    return IMAGES / (time.perf_counter() - began)


if __name__ == "__main__":
    cli.run(main)
