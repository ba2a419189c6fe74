"""`python -m harness`: commands and everything that they can be given, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli

COMMANDS = {
    "harness.ablate STUDY": "run what is missing of an ablation and write its report",
    "harness.sweep SWEEP": "look where in a space an objective is best, and write its report",
    "harness.status [STUDY]": "how far every stage is, and what went wrong",
    "harness.cancel STUDY": "end the jobs of a study, after showing them and asking",
    "harness.report STUDY": "rebuild a report from the store alone",
    "harness.evaluate IMAGES --reference IMAGES": "score images that were made anywhere, by a protocol",
    "harness.claims [STUDY]": "what the papers claim, judged on all that the store holds",
    "harness.generate --run ID": "images of chosen classes from a finished generator",
    "harness.reconstruct IMAGES --run ID": "image files through a finished tokenizer and back",
    "harness.publish --run ID --out DIR": "a finished tokenizer as a pretrained model, with a model card",
    "harness.tokenize FOLDER --tokenizer ID": "the latents of all images of a folder",
    "harness.compare A B": "what differs between two runs of a stage: machine, fields and numbers",
    "harness.runs [STUDY]": "what the store holds of every request that it remembers, or every run of one",
    "harness.prune": "remove what no remembered request wants, after showing it and asking",
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
