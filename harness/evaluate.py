"""`python -m harness.evaluate IMAGES --reference IMAGES --protocol NAME`: scores images that were made anywhere."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cli, plugins
from harness.errors import Mistake
from harness.protocols import PROTOCOLS, SMALL, Protocol, protocol

if TYPE_CHECKING:
    from harness.imagesets import ImageSet, Statistics
    from harness.looking import Looked
    from harness.store import Record

FEWEST = 16  # images: fewer say nothing
UNSAID = "how the images were made was not said"


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("evaluate", "score images that were made anywhere, by a protocol")
    cli.add_store(parser)
    parser.add_argument("images", type=Path, help="a folder of image files, or an npz with arr_0, as of ADM")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="IMAGES", help="the same, or an npz of ADM's statistics"
    )
    parser.add_argument("--protocol", default="lite", help=f"{', '.join(PROTOCOLS)} (default: lite)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the network, where they come with no package")
    parser.add_argument("--lpips-weights", type=Path, metavar="FILE", help="of VGG-16, where the protocol has LPIPS")
    parser.add_argument(
        "--how", default=UNSAID, metavar="TEXT", help="how the images were made: labels, sampler, steps, guidance"
    )
    parser.add_argument("--fewer", action="store_true", help="score fewer images than the protocol takes, named so")
    parser.add_argument("--save-npz", type=Path, metavar="FILE", help="write the images as an npz of ADM's evaluator")
    parser.add_argument(
        "--save-reference", type=Path, metavar="FILE", help="write their statistics, and the images, as its reference"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(arguments)
    asked = protocol(options.protocol)
    require_places(options, asked)
    images, reference = opened(options, asked)
    require_number(options, asked, images, reference)

    records, common = score(options, asked, images, reference)
    if options.json:
        import dataclasses

        print(json.dumps([dataclasses.asdict(record) for record in records], indent=1))
        return 0
    print(table(asked, records))
    print(f"\n{options.protocol}: {asked.about}.")
    print(f"- All: {common}.")
    for record in records:
        if own := record.protocol.replace(common, "").rstrip("; "):
            print(f"- {record.metric}: {own}.")
    return 0


def require_places(options: argparse.Namespace, asked: Protocol) -> None:
    """Raises `Mistake` where what is to be saved has no place, or is no reference of ADM's evaluator."""
    if options.save_reference and asked.network != "inception":
        raise Mistake(f"--save-reference writes statistics of Inception features: {options.protocol} looks by others")
    for path in filter(None, (options.save_npz, options.save_reference)):
        if path.is_dir():
            raise Mistake(f"{path} is a folder: the file to be written is needed")
        if not path.parent.is_dir():
            raise Mistake(f"{path} cannot be written: {path.parent} is not there or is not a folder")


def opened(options: argparse.Namespace, asked: Protocol) -> tuple[ImageSet, ImageSet]:
    """The images and their reference; raises `Mistake` where these do not go together."""
    from harness.imagesets import open_images

    images = open_images(options.images, asked.side)
    if not len(images):
        raise Mistake(f"{options.images} has statistics and no images: IMAGES are those that are scored")
    if images.size[0] != images.size[1]:
        raise Mistake(f"{options.images}: images of {images.size[1]} x {images.size[0]} px are not square")
    folder = options.reference.expanduser().is_dir()
    reference = open_images(options.reference, images.size[0], asked.crop if folder else "none")
    if asked.paired and images.names is not None and reference.names is not None and images.names != reference.names:
        odd = next(iter(sorted(set(images.names) ^ set(reference.names))), "the order")
        raise Mistake(f"{options.protocol} compares files of the same names: {odd} is in one of both folders only")
    if asked.paired and len(images) != len(reference):
        raise Mistake(f"{options.protocol} compares pairs: {len(images)} images and {len(reference)} originals")
    if not asked.paired and reference.statistics is not None and asked.network != "inception":
        raise Mistake(f"{options.reference} holds statistics of Inception features: {options.protocol} looks by others")
    if reference.statistics is not None:
        require_widths(options, asked, reference.statistics)
    return images, reference


def require_widths(options: argparse.Namespace, asked: Protocol, statistics: Statistics) -> None:
    """Raises `Mistake` for statistics of other features than the network's."""
    measure = plugins.load("harness.measures", asked.network, "measure")
    widths = {"mu": (statistics.mu, measure.features), "mu_s": (statistics.mu_s, measure.spatial)}
    for name, (mean, width) in widths.items():
        if mean is not None and len(mean) != width:
            raise Mistake(f"{name} of {options.reference} has {len(mean)} values: {measure.title} has {width}")


def require_number(options: argparse.Namespace, asked: Protocol, images: ImageSet, reference: ImageSet) -> None:
    """Raises `Mistake` for too few images, or for another number than the protocol's that was not asked for."""
    for path, them in ((options.images, images), (options.reference, reference)):
        if len(them) < FEWEST and (len(them) or them.statistics is None):  # a reference may be statistics alone
            raise Mistake(f"{path} holds {len(them)} images: at least {FEWEST} are needed to say anything")
    if asked.images is None or len(images) == asked.images:
        return
    if len(images) > asked.images or not options.fewer:
        hint = "" if len(images) > asked.images else "; --fewer scores them and names their number"
        raise Mistake(f"{options.protocol} takes {asked.images} images and {options.images} holds {len(images)}{hint}")


def score(
    options: argparse.Namespace, asked: Protocol, images: ImageSet, reference: ImageSet
) -> tuple[list[Record], str]:
    """Every number of the protocol, each with its own text and id, and what these texts share."""
    from harness import lpips_distance, scoring
    from harness.looking import look, pairs
    from harness.machine import this_machine
    from harness.measures import checksum
    from harness.metrics import protocol_id
    from harness.store import Record

    measure = plugins.load("harness.measures", asked.network, "measure")
    weights = measure.weights_file(options.weights)
    of_pairs = lpips_distance.weights_file(options.lpips_weights) if "lpips" in asked.titles else None
    machine = this_machine()
    network = measure.load(machine, asked.px, options.weights)
    lpips = lpips_distance.load(machine, of_pairs) if of_pairs else None
    identity = [asked.network, checksum(weights), asked.px]

    def looked_at(them: ImageSet) -> Looked | None:
        return look(them, network, identity, options.runs, options.quiet) if len(them) else None

    read = [them.digest for them in (images, reference)]  # all of both, before anything long begins
    seen = looked_at(images)
    assert seen is not None
    statistics = None if asked.paired else reference.statistics
    found = scoring.of_sets(asked, seen, scoring.Reference.of(looked_at(reference), statistics))
    if lpips is not None:
        found |= scoring.of_pairs(pairs(images, reference), lpips)
    save(options, images, seen)
    px = asked.px or measure.default_px
    common = (
        f"{measure.title}, weights {checksum(weights)}, {px} px {measure.resizing}, 8-bit; {len(images)} images; "
        f"reference: {reference.about}, content {read[1][:12]}; {options.how}"
    )
    of_lpips = f"{lpips_distance.title}, weights {checksum(of_pairs)}; " if of_pairs else ""
    records = []
    for name, value in found.items():
        text = f"{of_lpips if name == 'lpips' else ''}{_way(name, asked, value.n)}{common}"
        named, error = title(name, asked, value.n), (value.deviation, value.interval)
        whole = asked.images in (None, value.n)
        by = options.protocol if whole else f"{options.protocol}-at-{value.n}"
        stands_for = protocol_id(by, name, text, "images", value.n)
        records.append(Record(named, value.value, value.n, 0, "images", text, *error, stands_for))
    return records, common


def _way(name: str, asked: Protocol, n: int) -> str:
    """How a number is computed, where there is a choice."""
    from harness import fidelity, frechet, scoring
    from harness.metrics import rfd

    size = min(asked.kid_subset_images, n // 2)
    ways = {
        "fd": f"{rfd.BACKEND}; ",
        "sfd": "Fréchet distance in float64 of the spatial features; ",
        "fd_infinity": f"2 FD(N) - FD(N / 2), 95 % interval by {frechet.REPLICATES} bootstrap replicates; ",
        "kd": f"torch-fidelity, cubic kernel, unbiased, {scoring.KID_SUBSETS} subsets of at most {size}; ",
        "score": f"{fidelity.SPLITS} splits, shuffled; ",
        "precision": f"{fidelity.NEIGHBOURS} nearest neighbours; ",
        "recall": f"{fidelity.NEIGHBOURS} nearest neighbours; ",
        "psnr": "8-bit RGB, per image, then the mean over images; ",
        "ssim": "scikit-image, Gaussian window 11 px sigma 1.5, 8-bit RGB, mean over channels and images; ",
    }
    return ways.get(name, "")


def title(name: str, asked: Protocol, n: int) -> str:
    """How a number is called: as in the protocol only for as many images as that takes."""
    of = asked.titles["fd"] + "∞" if name == "fd_infinity" else asked.titles[name]
    return of if asked.images in (None, n) else f"{of} (N = {n:,})"


def table(asked: Protocol, records: Sequence[Record]) -> str:
    """The numbers with their errors, N and protocol id."""
    from tabulate import tabulate

    from harness.scoring import BETTER, DIGITS

    names = {title(name, asked, records[0].n): name for name in (*asked.titles, "fd_infinity")}
    lines = []
    for r in records:
        name = names[r.metric]
        digits = DIGITS.get(name, 2)
        text = f"{r.value:.{digits}f}"
        text += f" ± {r.deviation:.{digits}f}" if r.deviation is not None else ""
        text += f" [{r.interval[0]:.{digits}f}, {r.interval[1]:.{digits}f}]" if r.interval is not None else ""
        lines.append((f"{r.metric} {BETTER.get(name, '↑')}", text, f"{r.n:,}", r.protocol_id))
    found = tabulate(lines, headers=("metric", "value", "N", "protocol"), disable_numparse=True)
    if records[0].n < SMALL and "kd" in {names[record.metric] for record in records}:
        found += f"\n\nOf fewer than {SMALL:,} images the kernel distance, which has no bias, comes first."
    return found


def save(options: argparse.Namespace, images: ImageSet, seen: Looked) -> None:
    """Writes what `--save-npz` and `--save-reference` ask for."""
    from harness.fidelity import BATCH
    from harness.imagesets import Statistics, write_reference, write_samples

    if options.save_npz:
        write_samples(options.save_npz, images.batches(BATCH), len(images), images.size)
    if options.save_reference:
        pooled, spatial = seen.moments.gaussian, seen.spatial and seen.spatial.gaussian
        parts: list[Any] = [pooled.mean.numpy(), pooled.covariance.numpy()]
        parts += [spatial.mean.numpy(), spatial.covariance.numpy()] if spatial else []
        images_too = images.batches(BATCH), len(images), images.size
        write_reference(options.save_reference, Statistics(*parts), *images_too)


if __name__ == "__main__":
    cli.run(main)
