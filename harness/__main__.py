"""`python -m harness`: commands and everything that they can be given, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli

COMMANDS = {
    "harness.ablate STUDY": "run what is missing of an ablation and write its report",
    "harness.report STUDY": "rebuild a report from the store alone",
    "harness.generate --run ID": "images of chosen classes from a finished generator",
    "harness.reconstruct IMAGES --run ID": "image files through a finished tokenizer and back",
    "harness.bench": "images per second and model FLOP utilisation of tokenizer, generator and evaluation",
}


def main(arguments: Sequence[str]) -> int:
    cli.parser("", "name everything that there is").parse_args(arguments)
    width = max(map(len, COMMANDS))
    print("commands (python -m ...):")
    for command, about in COMMANDS.items():
        print(f"  {command:<{width}}  {about}")
    print(f"\n{cli.listing()}")
    return 0


if __name__ == "__main__":
    cli.run(main)
