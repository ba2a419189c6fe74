"""`python -m harness.generate --run ID`: generates images of chosen classes with a finished generator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args, get_type_hints

from harness import cli
from harness.experiments.experiment import UNGUIDED, Experiment, Guide, Sampling
from harness.experiments.fields import with_fields
from harness.experiments.keys import key_of
from harness.system import paths
from harness.system.errors import Mistake, unknown
from harness.system.texts import counted

OPTIONS = {"sampling.sampler": "--sampler", "sampling.steps": "--steps", "seed": "--seed", "guidance.scales": "--cfg"}
MOST_IMAGES = 50_000  # decoded at once
LINES, LINE = 10, 10  # number of classes, and of images per class, in the overview


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("generate")
    cli.add_run(parser)
    parser.add_argument("--classes", metavar="A,B", help="names or numbers of classes (default: all)")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="images per class (default: 8)")
    parser.add_argument(
        "--seed", metavar="S", help="seed of the noise (default: the run's, which gives the run's samples)"
    )
    parser.add_argument("--cfg", metavar="W", help="guidance scale, 1 for no guidance (default: the run's)")
    samplers = get_args(get_type_hints(Sampling)["sampler"])
    parser.add_argument("--sampler", metavar="NAME", help=f"{', '.join(samplers)} (default: the run's)")
    parser.add_argument("--steps", help="number of sampler steps (default: the run's)")
    parser.add_argument(
        "--npz", type=paths.path, metavar="FILE", help="also write the images as an npz for ADM's evaluator"
    )
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise Mistake(f"--count {options.count}: at least 1")
    paths.require_writable(options.out)
    if options.npz:
        paths.require_new_file(options.npz)
    finished_run = cli.chosen_run(options, ("generation",))
    names = finished_run.runs["data"].fact("classes")
    classes = classes_of(options.classes, names)
    if options.count * len(classes) > MOST_IMAGES:
        raise Mistake(f"--count {options.count} of {len(classes)} classes: at most {MOST_IMAGES:,} images")
    experiment = experiment_of(options, finished_run)
    guide = guide_of(options, finished_run, experiment)

    from PIL import Image

    from harness.data.adm_files import write_samples
    from harness.latents import autoencode, sampling
    from harness.networks import weights
    from harness.system.machine import this_machine
    from reports.figures import strips

    machine = this_machine()
    source = sampling.load(experiment, finished_run.runs, machine)
    # Image i has class i mod C: images of one class are C apart.
    indices = [label + k * len(names) for label in classes for k in range(options.count)]
    tokenizer = weights.load_tokenizer(experiment, finished_run.decoder).to(machine.device)
    images = autoencode.decode(tokenizer, source.draw(indices, guide), machine).permute(0, 2, 3, 1).numpy()
    of_class = dict(zip(classes, images.reshape(len(classes), options.count, *images.shape[1:]), strict=True))
    law = (experiment.seed, guide, experiment.sampling.sampler, experiment.sampling.steps)
    request = key_of([*law, classes, options.count])[:6]  # a folder holds the images of one request
    folder = options.out / f"generated-{finished_run.run.key}-{request}"
    paths.make_folders(folder)
    for label, shown in of_class.items():
        for k, image in enumerate(shown):
            Image.fromarray(image).save(folder / f"class{label}-{k}.png")
    if options.npz:
        write_samples(options.npz, [images], len(images), images.shape[1:3])
    strips({names[label]: of_class[label][:LINE] for label in classes[:LINES]}, folder / "all.png")
    drawn = f"{counted(len(images), 'image')}, seed {experiment.seed}, {sampling.how(experiment, guide)}"
    print(f"{drawn}: {folder / 'all.png'}")
    return 0


def experiment_of(options: argparse.Namespace, finished_run: cli.FinishedRun) -> Experiment:
    """The experiment of the run with the seed, sampler and steps of the options; raises `Mistake`."""
    settings = {
        "sampling.labels": "balanced",  # image i has class i mod C, whatever labels the run drew
        "seed": options.seed,
        "sampling.sampler": options.sampler,
        "sampling.steps": options.steps,
    }
    given = {path: value for path, value in settings.items() if value is not None}
    with cli.named_as_typed(OPTIONS):
        return with_fields(finished_run.experiment, given)


def guide_of(options: argparse.Namespace, finished_run: cli.FinishedRun, experiment: Experiment) -> Guide:
    """The guide of the run, with the scale of the options if they have one; raises `Mistake`."""
    searched = finished_run.runs["guidance"].fact("guide") if "guidance" in finished_run.runs else None
    guide = Guide(**searched) if searched else UNGUIDED
    if options.cfg is None:
        return guide
    with cli.named_as_typed(OPTIONS):
        w, *more = with_fields(experiment, {"guidance.scales": options.cfg}).guidance.scales
    if more:
        raise Mistake(f"--cfg {options.cfg}: one scale at a time")
    interval = (guide.low, guide.high) if guide.scale != 1 else experiment.guidance.intervals[0]
    return Guide(w, *interval) if w != 1 else UNGUIDED


def classes_of(words: str | None, names: list[str]) -> list[int]:
    """The classes that `words` lists, by name or number, separated by commas; all classes if it is None."""
    if words is None:
        return list(range(len(names)))
    classes: list[int] = []
    for word in (word.strip() for word in words.split(",") if word.strip()):
        if word in names:
            classes.append(names.index(word))
        elif word.isdecimal() and len(word) < 10 and int(word) < len(names):
            classes.append(int(word))
        elif word.lstrip("-").isdecimal():
            raise Mistake(f"class {word} is out of range: 0 to {len(names) - 1}")
        else:
            raise unknown("class", word, names)
    if not classes:
        raise Mistake(f"--classes {words!r} names no class")
    return list(dict.fromkeys(classes))


if __name__ == "__main__":
    cli.run(main)
