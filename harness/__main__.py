"""`python -m harness`: lists all commands, studies, scales, variants, data sets and metrics, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli

COMMANDS = {
    "harness.ablate STUDY": "run the missing stages of an ablation and write its report",
    "harness.everything": "run every study, cheapest first (the same as harness.ablate all)",
    "harness.sweep SWEEP": "search a space for the best value of an objective, and write its report",
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
    "harness.verify NAME --images FOLDER": "measure a released tokenizer beside its published rFID",
    "harness.tokenize FOLDER --tokenizer ID": "encode all images of a folder into latents",
    "harness.compare A B": "compare two runs of a stage: machine, fields and numbers",
    "harness.runs [STUDY]": "list the requests in the store with the state and size of their runs",
    "harness.prune": "remove the runs that no request in the store needs, after listing them and asking",
    "harness.bench": "measure images per second and model FLOP utilisation of tokenizer, generator and evaluation",
}


def main(arguments: Sequence[str]) -> int:
    cli.parser("", "lists all commands, studies, scales, variants, data sets, metrics and stages").parse_args(arguments)
    width = max(map(len, COMMANDS))
    print("commands (python -m ...):")
    for command, about in COMMANDS.items():
        print(f"  {command:<{width}}  {about}")
    print(f"\n{cli.listing()}")
    return 0


if __name__ == "__main__":
    cli.run(main)
