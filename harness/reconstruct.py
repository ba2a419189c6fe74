"""`python -m harness.reconstruct IMAGES --run ID`: image files through a finished tokenizer and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness import cli
from harness.data.decoding import EXTENSIONS, read
from harness.experiments.keys import key_of
from harness.system.errors import Mistake

LINE = 10  # images that the overview shows


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("reconstruct", __doc__.partition(": ")[2])
    cli.add_run(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGES", help="image files, or folders of them")
    options = parser.parse_args(arguments)
    made = cli.chosen_run(options, cli.TOKENIZING)
    side = made.experiment.data.image_size
    pixels = {}
    for path in files(options.images):
        image = read(path, side)
        if image is None:
            raise Mistake(f"{shown(path)} does not open as an image")
        pixels[path] = image

    import numpy as np
    from PIL import Image
    from tabulate import tabulate

    from harness.latents import autoencode
    from harness.networks import weights
    from harness.system.machine import this_machine
    from reports.figures import strips

    machine = this_machine()
    tokenizer = weights.load_tokenizer(made.experiment, made.decoder).to(machine.device)
    originals = np.stack(list(pixels.values()))
    decoded = autoencode.decode(tokenizer, autoencode.encode(tokenizer, originals, machine).mean, machine)
    images = decoded.permute(0, 2, 3, 1).numpy()
    request = key_of([shown(path) for path in pixels])[:6]
    folder = options.out / f"reconstructed-{made.run.key}-{request}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (path, original, image) in enumerate(zip(pixels, originals, images, strict=True)):
        name = folder / f"{number:04d}-{path.stem}.png"  # the same name may lie in two folders
        Image.fromarray(image).save(name)
        error = np.square(image / 127.5 - original / 127.5).mean()
        lines.append((shown(path), shown(name), f"{10 * np.log10(4 / max(error, 1e-10)):.2f}"))
    strips({"original": originals[:LINE], "reconstruction": images[:LINE]}, folder / "all.png")
    print(tabulate(lines, headers=("image", "reconstruction", "PSNR (dB)"), disable_numparse=True))
    print(f"\n{len(images)} images, centre-cropped to {side} px, from the posterior's mode: {folder / 'all.png'}")
    return 0


def files(given: list[Path]) -> list[Path]:
    """The image files that are given or lie in given folders, at any depth, in order, each once; no hidden ones."""
    found = []
    for path in given:
        if path.is_dir():
            inside = [below for below in sorted(path.rglob("*")) if _is_image(below)]
            if not inside:
                raise Mistake(f"no images in {shown(path)}; looked for {' '.join(EXTENSIONS)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise Mistake(f"{shown(path)} is not there")
    return list(dict.fromkeys(found))


def _is_image(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(EXTENSIONS) and not path.name.startswith(".")


def shown(path: Path) -> str:
    """The path as it can be printed: names of files need not be valid Unicode."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    cli.run(main)
