"""`python -m harness`: commands and everything that they can be given, one line each."""

from __future__ import annotations

from harness.cli import listing

COMMANDS = {
    "harness.ablate STUDY": "run what is missing of an ablation and write its report",
    "harness.report STUDY": "rebuild a report from the store alone",
    "harness.bench": "images per second and model FLOP utilisation of the tokenizer and of the evaluation",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print("commands (python -m ...):")
    for command, about in COMMANDS.items():
        print(f"  {command:<{width}}  {about}")
    print(f"\n{listing()}")


if __name__ == "__main__":
    main()
