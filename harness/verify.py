"""`python -m harness.verify NAME --reference IMAGES`: measures a released model beside its published FID.

NAME is a tokenizer, whose reconstructions of the reference are measured, or a generator, whose samples are.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cli, evaluate
from harness.data.image_files import refusal, require, shown
from harness.evaluation.protocols import Protocol, protocol_called
from harness.hub.systems import SYSTEMS, GeneratorSystem, System, TokenizerSystem, system
from harness.networks.weight_files import WeightsFile, short_checksum
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake
from harness.tokenize import batches

if TYPE_CHECKING:
    import numpy as np

    from harness.store.records import Record
    from harness.system.machine import Machine

REFERENCE = (
    "for a tokenizer, a folder of ImageNet's 50,000 validation images under their own names; for a generator, ADM's "
    "statistics of its train set, VIRTUAL_imagenet256_labeled.npz"
)
PART = 10  # --fewer draws one in so many samples
Made = tuple[Callable[[list[Any]], "Iterator[np.ndarray]"], str]  # images of a list of items, and how they are made


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("verify")
    cli.add_store(parser)
    cli.complete(parser.add_argument("name", metavar="NAME", help=", ".join(SYSTEMS)), lambda: list(SYSTEMS))
    parser.add_argument(
        "--reference",
        type=paths.path,
        metavar="IMAGES",
        help=f"{REFERENCE}; without it, the command says which files of weights are missing",
    )
    cli.add_out(parser, "the images, which are kept")
    parser.add_argument(
        "--fewer",
        action="store_true",
        help=f"take the images of a smaller folder, or draw one in {PART} samples, and name their number",
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    options = parser.parse_args(arguments)
    chosen = system(options.name)
    protocol = protocol_called(chosen.protocol)
    items_of, prepare = STEPS[type(chosen)]
    paths.require_writable(options.out)
    items = {} if options.reference is None else items_of(options, protocol)  # what is typed comes first
    at = found(chosen.files)
    require_networks(protocol)
    if options.reference is None:
        raise Mistake(f"--reference IMAGES is needed: {REFERENCE}")
    identity = "-".join(map(short_checksum, at.values()))
    folder = options.out / f"verify-{options.name}-{identity}-{len(items)}"
    make, how = prepare(chosen, at, protocol)
    write(items, make, folder, options.quiet)
    record, common = measured(chosen, folder, options, f"{options.name}, weights {identity}, {how}, float32")
    print(beside(options.name, chosen, record))
    print(f"\n{chosen.protocol}: {common}.\nTolerance: {chosen.published.reason}.")
    off = abs(record.value - chosen.published.value) > chosen.published.tolerance
    return int(is_exact(chosen, record) and off)


def found(files: Sequence[WeightsFile]) -> dict[WeightsFile, Path]:
    """Where files of weights are. Raises `Mistake` with all that are missing, and where they go."""
    at, missing = dict[WeightsFile, Path](), []
    for file in files:
        try:
            at[file] = file.find()
        except Mistake as error:
            missing.append(str(error))
    if missing:
        raise Mistake("; ".join(missing))
    return at


def require_networks(protocol: Protocol) -> None:
    """Raises `Mistake` if the weights of a network that measures are missing."""
    from harness.networks import lpips

    plugins.load("harness.networks.measures", protocol.network, "measure").weights_file(None)
    if "lpips" in protocol.titles:
        lpips.weights_file()


def machine() -> Machine:
    """The machine at hand, in float32."""
    from harness.system.machine import this_machine

    return dataclasses.replace(this_machine(), dtype="float32")


# Tokenizers


def originals(options: argparse.Namespace, protocol: Protocol) -> dict[str, Path]:
    """The images of a folder by name, without suffix. Raises `Mistake` if the protocol takes another number."""
    folder: Path = options.reference
    if not folder.is_dir():
        raise Mistake(f"{shown(folder)} is not a folder: give ImageNet's validation images")
    names = require(folder).images
    if len(names) != protocol.images and not options.fewer:
        takes = f"the protocol takes {protocol.images:,} images, {shown(folder)} holds {len(names):,}"
        raise Mistake(f"{takes}; --fewer measures them and names their number")
    return {name.rpartition(".")[0]: folder / name for name in names}


def reconstructing(chosen: TokenizerSystem, at: dict[WeightsFile, Path], protocol: Protocol) -> Made:
    """What reconstructs images in float32. It raises `Mistake` for one that does not open."""
    import numpy as np

    from harness.hub.conversion import tokenizer_in
    from harness.latents import autoencode

    tokenizer = tokenizer_in(at[chosen.tokenizer.file], chosen.tokenizer.layout, protocol.side)
    here = machine()
    network = tokenizer.tokenizer.to(here.device)

    def images(files: list[Path]) -> Iterator[np.ndarray]:
        for chunk, opened in batches(files, tokenizer.config.image_size):
            pixels = list(opened)
            opening = zip(chunk, pixels, strict=True)
            if unreadable := {str(path): why for path, why in opening if isinstance(why, str)}:
                raise Mistake(refusal(unreadable))
            z = autoencode.encode(network, np.stack(pixels), here).mean
            yield from autoencode.decode(network, z, here).permute(0, 2, 3, 1).numpy()

    return images, "reconstructions from the posterior's mode"


# Generators


def indices(options: argparse.Namespace, protocol: Protocol) -> dict[str, int]:
    """The indices of samples by name. Raises `Mistake` if the reference has no statistics."""
    from harness.data.image_sets import open_images

    if options.reference.is_dir() or open_images(options.reference, protocol.side).statistics is None:
        raise Mistake(f"{shown(options.reference)} has no statistics: give ADM's VIRTUAL_imagenet256_labeled.npz")
    assert protocol.images
    return {f"{i:06d}": i for i in range(protocol.images // (PART if options.fewer else 1))}


def drawing(chosen: GeneratorSystem, at: dict[WeightsFile, Path], protocol: Protocol) -> Made:
    """What draws samples by the published settings, in float32."""
    from harness.hub.conversion import generator_in, tokenizer_in
    from harness.hub.drawing import Drawing, how

    generator = generator_in(at[chosen.generator.file], chosen.generator.layout)
    tokenizer = tokenizer_in(at[chosen.tokenizer.file], chosen.tokenizer.layout, protocol.side)
    statistics = chosen.latents.statistics(at, generator.config.channels)
    return Drawing(chosen, generator, tokenizer, statistics, machine()).images, f"samples by {how(chosen)}"


STEPS: dict[type[System], tuple[Callable[..., dict[str, Any]], Callable[..., Made]]] = {
    TokenizerSystem: (originals, reconstructing),
    GeneratorSystem: (indices, drawing),
}


def write(items: dict[str, Any], make: Callable[[list[Any]], Iterator[np.ndarray]], folder: Path, quiet: bool) -> None:
    """Writes the image of every item into `folder` under its name, unless it is there already."""
    from PIL import Image
    from tqdm import tqdm

    from harness.system.files import replacing

    missing = {item: folder / f"{name}.png" for name, item in items.items()}
    missing = {item: path for item, path in missing.items() if not path.exists()}
    with tqdm(total=len(missing), unit="image", disable=quiet or None) as bar:
        for path, image in zip(missing.values(), make(list(missing)), strict=True):
            paths.make_folders(path.parent)
            with replacing(path) as temporary:
                Image.fromarray(image).save(temporary, "png")
            bar.update()


# The number


def measured(chosen: System, folder: Path, options: argparse.Namespace, how: str) -> tuple[Record, str]:
    """The FID of the images in `folder`, and its protocol in words."""
    words = [str(folder), "--reference", str(options.reference), "--protocol", chosen.protocol]
    flags = [f"--{name}" for name in ("fewer", "quiet") if getattr(options, name)]
    _, records, common = evaluate.scored(evaluate.parsed([*words, "--runs", str(options.runs), "--how", how, *flags]))
    return records["fd"], common


def beside(name: str, chosen: System, record: Record) -> str:
    """Our number beside the published one, with their difference if both are of the same images."""
    from harness.evaluation.records import number

    published = chosen.published
    row = [name, number(record.value, 2, record.deviation, record.interval), f"{published.value:.2f}"]
    if is_exact(chosen, record):
        row += [f"{record.value - published.value:+.2f}", f"{published.tolerance:.2f}"]
    else:
        row += ["not comparable", ""]
    headers = ["system", record.metric, f"published ({published.source})", "difference", "tolerance"]
    return terminal.table([row], headers)


def is_exact(chosen: System, record: Record) -> bool:
    """Whether a number is of the images that the protocol names, all of them."""
    return record.metric == protocol_called(chosen.protocol).titles["fd"]


if __name__ == "__main__":
    cli.run(main)
