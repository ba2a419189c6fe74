"""`python -m harness.reconstruct IMAGES --run ID`: image files through a finished tokenizer and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness import cli
from harness.data.folder import EXTENSIONS, read
from harness.errors import Mistake
from harness.plan import experiment_of
from harness.store import Store

LINE = 10  # images beside one another in the overview


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("reconstruct", __doc__.partition(": ")[2])
    cli.add_run(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGES", help="image files, or folders of them")
    options = parser.parse_args(arguments)
    experiment = experiment_of(Store(options.runs).find(options.run))
    decoder = cli.decoder_run(experiment, options)
    paths = files(options.images)
    side = experiment.data.image_size
    pixels = {path: read(path, side) for path in paths}
    for path, image in pixels.items():
        if image is None:
            raise Mistake(f"{path} does not open as an image")

    import numpy as np
    from PIL import Image
    from tabulate import tabulate

    from harness import coding, weights
    from harness.machine import this_machine
    from reports.figures import strips

    machine = this_machine()
    tokenizer = weights.load_tokenizer(experiment, decoder).to(machine.device)
    originals = np.stack([image for image in pixels.values() if image is not None])
    decoded = coding.decode(tokenizer, coding.encode(tokenizer, originals, machine).mean, machine)
    images = decoded.permute(0, 2, 3, 1).numpy()
    folder = options.out / f"reconstructed-{decoder.key}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (path, original, image) in enumerate(zip(paths, originals, images, strict=True)):
        name = folder / f"{number:04d}-{path.stem}.png"  # the same name may lie in two folders
        Image.fromarray(image).save(name)
        error = np.square(image / 127.5 - original / 127.5).mean()
        lines.append((path, name, f"{10 * np.log10(4 / max(error, 1e-10)):.2f}"))
    overview = {"original": originals[:LINE], "reconstruction": images[:LINE]}
    strips(overview, folder / "all.png")
    print(tabulate(lines, headers=("image", "reconstruction", "PSNR (dB)"), disable_numparse=True))
    print(f"\n{len(images)} images, centre-cropped to {side} px, from the posterior's mode: {folder / 'all.png'}")
    return 0


def files(given: list[Path]) -> list[Path]:
    """The image files that are given or lie in given folders, at any depth, in order."""
    found = []
    for path in given:
        if path.is_dir():
            inside = sorted(below for below in path.rglob("*") if below.name.lower().endswith(EXTENSIONS))
            if not inside:
                raise Mistake(f"no images in {path}; looked for {' '.join(EXTENSIONS)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise Mistake(f"{os.fspath(path)} is not there")
    return found


if __name__ == "__main__":
    cli.run(main)
