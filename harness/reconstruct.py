"""`python -m harness.reconstruct IMAGES --run ID`: encodes and decodes image files with a finished tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import cli
from harness.data import image_files
from harness.data.decoding import read
from harness.data.image_files import PassedOver, shown
from harness.experiments.keys import key_of
from harness.system import paths, terminal
from harness.system.errors import Mistake
from harness.system.texts import counted

LINE = 10  # number of images in the overview


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("reconstruct")
    cli.add_run(parser)
    parser.add_argument("images", nargs="+", type=paths.path, metavar="IMAGES", help="image files, or folders of them")
    options = parser.parse_args(arguments)
    paths.require_writable(options.out)
    finished_run = cli.chosen_run(options, cli.TOKENIZING)
    side = finished_run.experiment.data.image_size
    pixels: dict[Path, Any] = {}
    given, passed_over = files(options.images)
    passed_over.report("the given folders")
    for path in given:
        pixels[path] = read(path, side)
    if unreadable := {str(path): why for path, why in pixels.items() if isinstance(why, str)}:
        raise Mistake(image_files.refusal(unreadable, len(pixels)))

    import numpy as np
    from PIL import Image

    from harness.latents import autoencode
    from harness.networks import weights
    from harness.system.machine import this_machine
    from reports.figures import strips

    machine = this_machine()
    tokenizer = weights.load_tokenizer(finished_run.experiment, finished_run.decoder).to(machine.device)
    originals = np.stack(list(pixels.values()))
    decoded = autoencode.decode(tokenizer, autoencode.encode(tokenizer, originals, machine).mean, machine)
    images = decoded.permute(0, 2, 3, 1).numpy()
    request = key_of([shown(path) for path in pixels])[:6]
    folder = options.out / f"reconstructed-{finished_run.run.key}-{request}"
    paths.make_folders(folder)
    lines = []
    for number, (path, original, image) in enumerate(zip(pixels, originals, images, strict=True)):
        # Two folders may hold files of the same name, and the number makes a long name longer.
        name = folder / paths.short_name(f"{number:04d}-{path.stem}", ".png")
        Image.fromarray(image).save(name)
        error = np.square(image / 127.5 - original / 127.5).mean()
        lines.append((shown(path), shown(name), f"{10 * np.log10(4 / max(error, 1e-10)):.2f}"))
    strips({"original": originals[:LINE], "reconstruction": images[:LINE]}, folder / "all.png")
    print(terminal.table(lines, ("image", "reconstruction", "PSNR (dB)"), spare=("reconstruction",)))
    of = f"{counted(len(images), 'image')}, centre-cropped to {side} px"
    print(f"\n{of}, from the posterior's mode: {folder / 'all.png'}")
    return 0


def files(given: list[Path]) -> tuple[list[Path], PassedOver]:
    """The given files, and the images in given folders at any depth, in order, each once; and what is passed over."""
    images: dict[Path, None] = {}
    passed_over = PassedOver()
    for path in given:
        if path.is_dir():
            found = image_files.require(path)
            images |= dict.fromkeys(path / name for name in sorted(found.images))
            passed_over.update(found.passed_over, f"{path}/")
        elif path.exists():
            images[path] = None
        else:
            raise Mistake(f"{shown(path)} does not exist")
    return list(images), passed_over


if __name__ == "__main__":
    cli.run(main)
