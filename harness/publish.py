"""`python -m harness.publish --run ID --out DIR`: writes a finished tokenizer as a pretrained model with a card."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import cli
from harness.hub import folders, licenses
from harness.system import paths
from harness.system.errors import Trouble
from harness.system.texts import counted

if TYPE_CHECKING:
    from harness.hub.tokenizer import PretrainedTokenizer


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("publish")
    cli.add_store(parser)
    parser.add_argument("--run", required=True, metavar="ID", help="key of a run, or its first digits")
    parser.add_argument("--out", required=True, type=paths.path, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--push", metavar="OWNER/NAME", help="also upload it to this repository of the Hub")
    parser.add_argument(
        "--license",
        metavar="ID",
        help=f"licence of the weights, as the Hub or SPDX writes it (default: {licenses.DEFAULT})",
    )
    options = parser.parse_args(arguments)
    license = licenses.DEFAULT if options.license is None else licenses.licence(options.license)
    finished_run = cli.chosen_run(options, cli.TOKENIZING)
    out = options.out.resolve()
    folders.require_new(out, f"--out {options.out}")

    from harness.hub.card import warning
    from harness.hub.tokenizer import PretrainedTokenizer, require_hub_id
    from harness.store.runs import Store

    if options.push is not None:
        require_hub_id(options.push)
    paths.make_folders(out.parent)
    tokenizer = PretrainedTokenizer.of_run(Store(options.runs), finished_run.decoder, license)
    folders.write(tokenizer, out)
    origin = tokenizer.config.origin
    stage, key = finished_run.decoder.stage, finished_run.decoder.key
    print(f"{stage} {key}, {origin.variant}, with {counted(len(origin.records), 'measured number')}:")
    folders.show(out, options.out)
    print(f"trained: {origin.trained}")
    print(f"licence of the weights: {license}{'' if options.license else ', the default; --license names another'}")
    if text := warning(origin):
        print(f"warning: {text}", file=sys.stderr)
    if options.push is not None:
        print(pushed(tokenizer, options.push, options.out))
    return 0


def pushed(tokenizer: PretrainedTokenizer, repository: str, written: Path) -> str:
    """Uploads the tokenizer and returns its URL. Raises `Trouble`."""
    try:
        return str(tokenizer.push_to_hub(repository))
    except Exception as error:  # each HTTP library has its own exceptions
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Trouble(f"{written} is written, but {repository} of the Hub is not: {reason}") from error


if __name__ == "__main__":
    cli.run(main)
