"""`python -m harness.verify NAME --images FOLDER`: measures a released tokenizer beside its published rFID."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import cli, evaluate
from harness.data.image_files import require, shown
from harness.evaluation.protocols import Protocol, protocol_called
from harness.hub.systems import PROTOCOL, REASON, SYSTEMS, TOLERANCE, System, system
from harness.networks.weight_files import short_checksum
from harness.system import paths, plugins, terminal
from harness.system.errors import Mistake, Trouble
from harness.tokenize import batches

if TYPE_CHECKING:
    from harness.hub.tokenizer import PretrainedTokenizer
    from harness.store.records import Record


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("verify")
    cli.add_store(parser)
    parser.add_argument("name", metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument(
        "--images",
        required=True,
        type=paths.path,
        metavar="FOLDER",
        help="ImageNet's 50,000 validation images under their own names",
    )
    cli.add_out(parser, "the reconstructions, which are kept")
    parser.add_argument("--fewer", action="store_true", help="take fewer images, and name their number")
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    options = parser.parse_args(arguments)
    chosen, protocol = system(options.name), protocol_called(PROTOCOL)
    images = images_in(options.images, protocol, options.fewer)
    weights = chosen.weights.find()
    require_networks(protocol)

    from harness.hub.conversion import tokenizer_in

    tokenizer = tokenizer_in(weights, chosen.layout, protocol.side)
    identity = short_checksum(weights)
    folder = options.out / f"verify-{options.name}-{identity}"
    reconstruct(tokenizer, images, folder, options.quiet)
    how = f"reconstructions by {options.name}, weights {identity}, from the posterior's mode, float32"
    record, common = measured(folder, options, how)
    print(beside(options.name, chosen, record))
    print(f"\n{PROTOCOL}: {common}.\nTolerance: {REASON}.")
    return int(is_exact(record) and abs(record.value - chosen.rfid) > TOLERANCE)


def images_in(folder: Path, protocol: Protocol, fewer: bool) -> dict[str, Path]:
    """The images of a folder by name, without suffix. Raises `Mistake` if the protocol takes another number."""
    if not folder.is_dir():
        raise Mistake(f"{shown(folder)} is not a folder: give ImageNet's validation images")
    names = require(folder).images
    if len(names) != protocol.images and not fewer:
        takes = f"{PROTOCOL} takes {protocol.images:,} images, {shown(folder)} holds {len(names):,}"
        raise Mistake(f"{takes}; --fewer measures them and names their number")
    return {name.rpartition(".")[0]: folder / name for name in names}


def require_networks(protocol: Protocol) -> None:
    """Raises `Mistake` if the weights of a network that measures are missing."""
    from harness.networks import lpips

    plugins.load("harness.networks.measures", protocol.network, "measure").weights_file(None)
    lpips.weights_file()


def reconstruct(tokenizer: PretrainedTokenizer, images: dict[str, Path], folder: Path, quiet: bool) -> None:
    """Writes a reconstruction of every image into `folder`, under its name, unless it is there already, in float32.

    Raises `Trouble` for an image that does not open.
    """
    import numpy as np
    from PIL import Image
    from tqdm import tqdm

    from harness.latents import autoencode
    from harness.system.files import replacing
    from harness.system.machine import this_machine

    machine = dataclasses.replace(this_machine(), dtype="float32")
    network = tokenizer.tokenizer.to(machine.device)
    missing = {path: folder / f"{name}.png" for name, path in images.items()}
    missing = {path: made for path, made in missing.items() if not made.exists()}
    with tqdm(total=len(missing), unit="image", disable=quiet or None) as bar:
        for chunk, opened in batches(list(missing), tokenizer.config.image_size):
            pixels = list(opened)
            for path, image in zip(chunk, pixels, strict=True):
                if isinstance(image, str):
                    raise Trouble(f"{shown(path)} does not open as an image: {image}")
            z = autoencode.encode(network, np.stack(pixels), machine).mean
            decoded = autoencode.decode(network, z, machine).permute(0, 2, 3, 1).numpy()
            for path, image in zip(chunk, decoded, strict=True):
                paths.make_folders(missing[path].parent)
                with replacing(missing[path]) as temporary:
                    Image.fromarray(image).save(temporary, "png")
            bar.update(len(chunk))


def measured(folder: Path, options: argparse.Namespace, how: str) -> tuple[Record, str]:
    """The rFID of the reconstructions in `folder`, and its protocol in words."""
    words = [str(folder), "--reference", str(options.images), "--protocol", PROTOCOL, "--runs", str(options.runs)]
    flags = [f"--{name}" for name in ("fewer", "quiet") if getattr(options, name)]
    _, records, common = evaluate.scored(evaluate.parsed([*words, "--how", how, *flags]))
    return records["fd"], common


def beside(name: str, chosen: System, record: Record) -> str:
    """Our number beside the published one, with their difference if both are of the same images."""
    from harness.evaluation.records import number

    row = [name, number(record.value, 2, record.deviation, record.interval), f"{chosen.rfid:.2f}"]
    if is_exact(record):
        row += [f"{record.value - chosen.rfid:+.2f}", f"{TOLERANCE:.2f}"]
    else:
        row += ["not comparable", ""]
    headers = ["tokenizer", record.metric, f"published ({chosen.source})", "difference", "tolerance"]
    return terminal.table([row], headers)


def is_exact(record: Record) -> bool:
    """Whether a number is of the images that the protocol names, all of them."""
    return record.metric == protocol_called(PROTOCOL).titles["fd"]


if __name__ == "__main__":
    cli.run(main)
