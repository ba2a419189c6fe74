"""`tokenizer-harness`, or `python -m harness`: runs a command by its name, or lists all commands.

`tokenizer-harness ablate table5` is `python -m harness.ablate table5`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

from harness import __version__, cli
from harness.system import terminal
from harness.system.errors import unknown
from harness.system.texts import SCRIPT, as_typed, by_script

COMMANDS = {
    "harness.ablate STUDY": "run the missing stages of an ablation and write its report",
    "harness.everything": "run every study, cheapest first",
    "harness.sweep SWEEP": "search a space for the best value, and write its report",
    "harness.status [STUDY]": "show how far every stage is, and what went wrong",
    "harness.cancel STUDY": "end the jobs of a study, after listing them and asking",
    "harness.report STUDY": "rebuild a report from the store, without running anything",
    "harness.benchmark TOKENIZER...": "put tokenizers of your own into a league table with ours",
    "harness.evaluate IMAGES --reference IMAGES": "score images from any source by a named protocol",
    "harness.claims [STUDY]": "judge the claims of the papers on all results in the store",
    "harness.generate --run ID": "generate images of chosen classes with a finished generator",
    "harness.reconstruct IMAGES --run ID": "encode and decode image files with a finished tokenizer",
    "harness.publish --run ID --out DIR": "write a finished tokenizer as a pretrained model with a model card",
    "harness.convert CHECKPOINT --from NAME --to DIR": "make a released checkpoint a pretrained model of ours",
    "harness.verify NAME --reference FOLDER": "measure a released model beside its published number",
    "harness.tokenize FOLDER --tokenizer ID": "encode all images of a folder into latents",
    "harness.compare A B": "compare two runs of a stage: machine, fields and numbers",
    "harness.runs [STUDY]": "list the requests in the store, and their runs",
    "harness.prune": "remove the runs that no request needs, after asking",
    "harness.bench": "measure the speed of every kind of work",
}
MORE = """--help of a command lists its options. --list shows all studies, scales, variants, metrics and the like,
--list KIND those of one kind, --fields the fields of --set. To begin with: python -m harness.ablate table5"""
NAMES = tuple(command.split()[0].removeprefix("harness.") for command in COMMANDS)


def main(arguments: Sequence[str]) -> int:
    if command := _completed():
        os.environ[cli.COMPLETION] = "2"  # the first two words stand for the command
        arguments = [command]
    if arguments and arguments[0] in NAMES:
        code: int = importlib.import_module(f"harness.{arguments[0]}").main(arguments[1:])
        return code
    if arguments and not arguments[0].startswith("-"):  # also where arguments of its own follow
        raise unknown("command", arguments[0], NAMES)
    parser = cli.parser("", "runs a command, or lists all commands")
    parser.add_argument("--version", action="version", version=f"tokenizer-harness {__version__}")
    named = parser.add_argument("command", nargs="?", metavar="COMMAND", help="its --help lists its options")
    cli.complete(named, lambda: NAMES)
    cli.add_list(parser)
    parser.set_defaults(scale="tiny")
    if (name := parser.parse_args(arguments).command) is not None:
        raise unknown("command", name, NAMES)
    how, commands = "python -m", COMMANDS
    if by_script():
        how, commands = SCRIPT, {command.removeprefix("harness."): about for command, about in COMMANDS.items()}
    print(f"commands ({how} ...):\n{terminal.entries(commands)}\n\n{as_typed(MORE)}")
    return 0


def _completed() -> str:
    """The command whose options the shell wants to complete, if any."""
    words = os.environ.get("COMP_LINE", "").split(" ") if cli.COMPLETION in os.environ else []
    return words[1] if len(words) > 2 and words[1] in NAMES else ""


def script() -> None:
    """The console script."""
    cli.run(main)


if __name__ == "__main__":
    script()
