"""`python -m harness.benchmark TOKENIZER...`: puts tokenizers of anybody's into a league table with our own.

TOKENIZER is FILE.py:NAME or MODULE:NAME of an object with encode and decode (`harness.networks.outside` says what it
has to be), with =ARGUMENT if it takes one, or a published tokenizer of this project: its folder, or OWNER/NAME.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harness import ablate, cli
from harness.experiments.experiment import Experiment
from harness.experiments.requests import AblationRequest
from harness.planning.stage import decoder
from harness.planning.task import task
from harness.store.runs import Store
from harness.system import terminal
from harness.system.errors import Mistake

IMAGES, ROUNDS = 64, 3  # of a measurement of speed


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("benchmark")
    parser.add_argument(
        "tokenizers", nargs="*", metavar="TOKENIZER", help="FILE.py:NAME, MODULE:NAME, a folder, OWNER/NAME"
    )
    cli.add_study(parser, positional=False)
    cli.add_execution(parser)
    cli.add_price(parser)
    cli.add_growth(parser)
    options = parser.parse_args(arguments)
    options.study, options.one_step = "league", False
    options.tokenizer += [source_of(given) for given in options.tokenizers]
    request = cli.request_of(options)
    assert isinstance(request, AblationRequest)
    code = ablate.run(options, request)
    if options.dry_run:
        return code

    from reports import league
    from reports.results import load

    store = Store(options.runs)
    by_row = request.experiments()
    speeds = {row.name: speed for row, (e, *_) in by_row.items() if (speed := _speed(e, store)) is not None}
    print(terminal.fitted(league.write(league.lines(load(by_row, store), speeds), options.out, request.page)))
    return code


def source_of(given: str) -> str:
    """The source of a tokenizer that a user names. Raises `Mistake`."""
    if ":" in given:
        return given
    if Path(given).is_dir() or given.count("/") == 1:
        return f"harness.hub.outside:Pretrained={given}"
    raise Mistake(f"{given} is no tokenizer: FILE.py:NAME, MODULE:NAME, a folder of a published one, or OWNER/NAME")


def _speed(experiment: Experiment, store: Store) -> tuple[float, float] | None:
    """Images per second of encoder and decoder on this machine, now; None if the tokenizer is not finished."""
    import numpy as np

    from harness.latents.autoencode import decode, encode
    from harness.networks import weights
    from harness.system.machine import this_machine

    run = task(decoder(experiment), experiment).run_in(store)
    if run.state != "done":
        return None
    machine = this_machine()
    tokenizer = weights.load_tokenizer(experiment, run).to(machine.device)
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
