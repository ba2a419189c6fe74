"""`python -m harness.tokenize FOLDER --tokenizer RUN_OR_HUB_ID`: encodes all images of a folder into latents.

It writes FILE.npy, float32 (n, L, Z). This format can be mapped into memory (`np.load(FILE, mmap_mode="r")`) and
written batch by batch. An npz allows neither, and safetensors are written from memory only. FILE.json beside it has
`names`, the paths of the n images in the folder in the order of the latents, and the origin of the latents.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness import cli
from harness.data.decoding import read
from harness.data.image_files import refusal, require, shown
from harness.system import paths
from harness.system.errors import Mistake
from harness.system.texts import counted

if TYPE_CHECKING:
    import numpy as np

    from harness.hub.tokenizer import PretrainedTokenizer
    from harness.system.machine import Machine

CROP = "center"
LATENTS = "-latents.npy"  # the end of the file's name, after that of the folder


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("tokenize")
    cli.add_store(parser)
    parser.add_argument("folder", type=paths.path, metavar="FOLDER", help="folder of images, at any depth")
    parser.add_argument(
        "--tokenizer",
        dest="run",
        required=True,
        metavar="RUN_OR_HUB_ID",
        help="folder of a pretrained tokenizer, else OWNER/NAME on the Hub, else key of a run or its first digits",
    )
    parser.add_argument(
        "--out", type=paths.path, metavar="FILE", help="FILE.npy (default: reports/out/FOLDER-latents.npy)"
    )
    parser.add_argument("--sample", action="store_true", help="write samples of the posteriors instead of their modes")
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        raise Mistake(f"{shown(options.folder)} is not a folder: give a folder with images")
    name = shown(Path(options.folder.resolve().name))
    out = options.out or Path("reports/out") / paths.short_name(name, LATENTS)
    require_new(out)
    found = require(options.folder)
    found.passed_over.report(shown(options.folder))
    images = [options.folder / name for name in sorted(found.images)]
    tokenizer, identity = tokenizer_of(options)
    about = {
        "folder": name,
        "tokenizer": identity,
        "weights_sha256": tokenizer.weights_sha256,
        "image_size": tokenizer.config.image_size,
        "crop": CROP,
        "latents": "sample" if options.sample else "mode",
        "passed_over": dict(found.passed_over.counts),
    }
    write(out, tokenizer, options.folder, images, about, options.quiet)
    of = f"{counted(len(images), 'image')}, centre-cropped to {about['image_size']} px"
    print(f"{of}, from the posterior's {about['latents']}: {out}")
    return 0


def require_new(out: Path) -> None:
    """Raises `Mistake` if the latents cannot be written to `out`."""
    if out.suffix != ".npy":
        raise Mistake(f"--out {out}: a name that ends in .npy is needed")
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            raise Mistake(f"{path} exists already: choose another file with --out")
    paths.require_writable(out.parent)


def tokenizer_of(options: argparse.Namespace) -> tuple[PretrainedTokenizer, str]:
    """The chosen tokenizer, and its identity in words. Raises `Mistake` if there is none."""
    if os.path.isdir(options.run) or "/" in options.run:
        from harness.hub.tokenizer import PretrainedTokenizer

        return PretrainedTokenizer.from_pretrained(options.run), f"pretrained {options.run}"
    finished_run = cli.chosen_run(options, cli.TOKENIZING)

    from harness.hub.tokenizer import PretrainedTokenizer
    from harness.store.runs import Store

    return PretrainedTokenizer.of_run(
        Store(options.runs), finished_run.decoder
    ), f"{finished_run.decoder.stage} {finished_run.decoder.key}"


def write(
    out: Path, tokenizer: PretrainedTokenizer, folder: Path, images: Sequence[Path], about: dict[str, Any], quiet: bool
) -> None:
    """Writes both files or, if it ends early, neither. Memory does not grow with the number of images.

    Raises `Mistake` if images do not open, after all of them were tried.
    """
    from tqdm import tqdm

    from harness.system.files import replacing
    from harness.system.machine import this_machine

    machine = this_machine()
    tokenizer.to(machine.device)
    names: list[str] = []
    unreadable: dict[str, str] = {}
    paths.make_folders(out.parent)
    with replacing(out) as array, replacing(out.with_suffix(".json")) as beside:
        with array.open("wb") as file, tqdm(total=len(images), unit="image", disable=quiet or None) as bar:
            write_header(file, len(images), tokenizer)
            for files, pixels in batches(images, tokenizer.config.image_size):
                named = [path.relative_to(folder).as_posix() for path in files]
                opened = dict(zip(named, pixels, strict=True))
                whole = {name: image for name, image in opened.items() if not isinstance(image, str)}
                unreadable |= {name: why for name, why in opened.items() if isinstance(why, str)}
                if not unreadable:
                    file.write(latents(tokenizer, whole, about["latents"] == "sample", machine).tobytes())
                names += whole
                bar.update(len(files))
        if unreadable:
            raise Mistake(refusal(unreadable, len(images), folder))
        about = about | {"machine": str(machine), "names": names}
        beside.write_text(json.dumps(about, indent=1), encoding="utf-8")


def write_header(file: BinaryIO, n: int, tokenizer: PretrainedTokenizer) -> None:
    """Writes the header of a .npy file with the latents of `n` images."""
    import numpy as np

    shape = (n, *tokenizer.config.latents[:2])
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def latents(
    tokenizer: PretrainedTokenizer, images: dict[str, np.ndarray], sample: bool, machine: Machine
) -> np.ndarray:
    """float32 (n, L, Z) of images by name, uint8 (S, S, 3) each. The noise of a sample depends on the name only."""
    import numpy as np

    from harness.latents import autoencode
    from harness.system.randomness import Chosen, Draws, named

    posterior = autoencode.encode(tokenizer.tokenizer, np.stack(list(images.values())), machine)
    if not sample:
        return posterior.mean.numpy()
    draws = Draws(0, "tokenize", 0, part=Chosen([named(os.fsencode(name)) for name in images]))
    return posterior.sample(draws.normal("noise", *posterior.mean.shape)).numpy()


def batches(images: Sequence[Path], side: int) -> Iterator[tuple[Sequence[Path], Iterator[np.ndarray | str]]]:
    """The images and their pixels, uint8 (S, S, 3), or why one does not open. Threads read one batch ahead."""
    from harness.latents.autoencode import BATCH
    from harness.system.machine import cores

    opened = partial(read, side=side, crop=CROP)
    with ThreadPoolExecutor(cores()) as pool:
        ahead = None
        for start in range(0, len(images), BATCH):
            chunk = images[start : start + BATCH]
            coming = chunk, pool.map(opened, chunk)
            if ahead:
                yield ahead
            ahead = coming
        if ahead:
            yield ahead


if __name__ == "__main__":
    cli.run(main)
