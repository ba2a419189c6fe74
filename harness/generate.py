"""`python -m harness.generate --run ID`: images of chosen classes from a finished generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import cli
from harness.experiments.experiment import UNGUIDED, Guide
from harness.experiments.fields import with_fields
from harness.experiments.keys import key_of
from harness.system.errors import Mistake, unknown

LINES, LINE = 10, 10  # classes and images of each that the overview shows


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("generate", __doc__.partition(": ")[2])
    cli.add_run(parser)
    parser.add_argument("--classes", default="", metavar="A,B", help="names or numbers (default: all)")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="images of each class (default: 8)")
    parser.add_argument("--seed", metavar="S", help="of the noise (default: the run's, and so the run's samples)")
    parser.add_argument("--cfg", metavar="W", help="scale of guidance, 1 for none (default: the run's)")
    parser.add_argument("--sampler", help="euler, heun or euler_maruyama (default: the run's)")
    parser.add_argument("--steps", help="steps of the sampler (default: the run's)")
    parser.add_argument("--npz", type=Path, metavar="FILE", help="write the images as an npz of ADM's evaluator, too")
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise Mistake(f"--count {options.count}: at least 1")
    if options.npz and not options.npz.absolute().parent.is_dir():
        raise Mistake(f"--npz {options.npz}: its folder is not there")
    made = cli.chosen_run(options, ("generation",))
    names = made.runs["data"].result()["facts"]["classes"]
    classes = chosen(options.classes, names)
    # Image i is of class i mod C, whatever the run did.
    settings = {
        "sampling.labels": "balanced",
        "seed": options.seed,
        "sampling.sampler": options.sampler,
        "sampling.steps": options.steps,
    }
    experiment = with_fields(made.experiment, {path: value for path, value in settings.items() if value is not None})
    found = made.runs["guidance"].result()["facts"]["guide"] if "guidance" in made.runs else None
    guide = Guide(**found) if found else UNGUIDED
    if options.cfg is not None:
        w, *more = with_fields(experiment, {"guidance.scales": options.cfg}).guidance.scales
        if more:
            raise Mistake(f"--cfg {options.cfg}: one scale at a time")
        interval = (guide.low, guide.high) if guide.scale != 1 else experiment.guidance.intervals[0]
        guide = Guide(w, *interval) if w != 1 else UNGUIDED

    from PIL import Image

    from harness.data.image_sets import write_samples
    from harness.latents import autoencode, sampling
    from harness.networks import weights
    from harness.system.machine import this_machine
    from reports.figures import strips

    machine = this_machine()
    source = sampling.load(experiment, made.runs, machine)
    # Image i is of class i mod C: those of one class are C apart.
    indices = [label + k * len(names) for label in classes for k in range(options.count)]
    tokenizer = weights.load_tokenizer(experiment, made.decoder).to(machine.device)
    images = autoencode.decode(tokenizer, source.draw(indices, guide), machine).permute(0, 2, 3, 1).numpy()
    of_class = dict(zip(classes, images.reshape(len(classes), options.count, *images.shape[1:]), strict=True))
    request = key_of([experiment.seed, guide, experiment.sampling.sampler, experiment.sampling.steps])[:6]
    folder = options.out / f"generated-{made.run.key}-{request}"
    folder.mkdir(parents=True, exist_ok=True)
    for label, shown in of_class.items():
        for k, image in enumerate(shown):
            Image.fromarray(image).save(folder / f"class{label}-{k}.png")
    if options.npz:
        write_samples(options.npz, [images], len(images), images.shape[1:3])
    strips({names[label]: of_class[label][:LINE] for label in classes[:LINES]}, folder / "all.png")
    print(f"{len(images)} images, seed {experiment.seed}, {sampling.how(experiment, guide)}: {folder / 'all.png'}")
    return 0


def chosen(words: str, names: list[str]) -> list[int]:
    """The classes that `words` name, by name or number, separated by commas; all where it is empty."""
    found = []
    for word in (word.strip() for word in words.split(",") if word.strip()):
        if word in names:
            found.append(names.index(word))
        elif word.isdecimal() and int(word) < len(names):
            found.append(int(word))
        elif word.lstrip("-").isdecimal():
            raise Mistake(f"class {word} is out of range: 0 to {len(names) - 1}")
        else:
            raise unknown("class", word, names)
    return list(dict.fromkeys(found)) or list(range(len(names)))


if __name__ == "__main__":
    cli.run(main)
