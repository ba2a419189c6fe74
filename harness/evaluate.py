"""`python -m harness.evaluate IMAGES --reference IMAGES --protocol NAME`: scores images from any source."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import cli
from harness.data.image_files import shown
from harness.evaluation.protocols import OTHER_WEIGHTS, PROTOCOLS, Protocol, protocol_called
from harness.experiments.experiment import FEWEST
from harness.system import paths, plugins
from harness.system.errors import Mistake
from harness.system.texts import counted

if TYPE_CHECKING:
    from harness.data.adm_files import FeatureStatistics
    from harness.data.image_sets import ImageSet
    from harness.store.records import Record


UNSAID = "how the images were made was not said"


def main(arguments: Sequence[str]) -> int:
    options = parsed(arguments)
    protocol, records, common = scored(options)
    if options.json:
        import dataclasses

        print(json.dumps([dataclasses.asdict(record) for record in records.values()], indent=1))
        return 0
    from harness.evaluation.scoring import table

    print(table(protocol, records))
    others = any(OTHER_WEIGHTS in record.protocol_id for record in records.values())
    print(f"\n{options.protocol}: {'with other weights than the published ones' if others else protocol.about}.")
    print(f"- All: {common}.")
    for record in records.values():
        if own := record.protocol.replace(common, "").rstrip("; "):
            print(f"- {record.metric}: {own}.")
    for what, path in (("images", options.save_npz), ("reference", options.save_reference)):
        if path:
            print(f"{what} for ADM's evaluator: {path}")
    return 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = cli.parser("evaluate", "scores images from any source by a named protocol")
    cli.add_store(parser)
    parser.add_argument("images", type=paths.path, help="folder of image files, or npz with arr_0 as in ADM")
    parser.add_argument(
        "--reference",
        type=paths.path,
        required=True,
        metavar="IMAGES",
        help="reference images in the same form, or npz with ADM's statistics",
    )
    protocol = parser.add_argument("--protocol", default="lite", help=f"{', '.join(PROTOCOLS)} (default: lite)")
    cli.complete(protocol, lambda: list(PROTOCOLS))
    parser.add_argument(
        "--weights", type=paths.path, metavar="FILE", help="weights of the network, if they come with no package"
    )
    parser.add_argument(
        "--lpips-weights", type=paths.path, metavar="FILE", help="weights of VGG-16, for protocols with LPIPS"
    )
    parser.add_argument(
        "--how", default=UNSAID, metavar="TEXT", help="how the images were made: labels, sampler, steps, guidance"
    )
    parser.add_argument(
        "--fewer", action="store_true", help="score fewer images than the protocol takes, and name their number"
    )
    parser.add_argument(
        "--save-npz", type=paths.path, metavar="FILE", help="write the images as an npz for ADM's evaluator"
    )
    parser.add_argument(
        "--save-reference",
        type=paths.path,
        metavar="FILE",
        help="write the images and their statistics as a reference for ADM's evaluator",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    return parser.parse_args(arguments)


def scored(options: argparse.Namespace) -> tuple[Protocol, dict[str, Record], str]:
    """The protocol, all its numbers, and what their protocols have in common, in words. Raises `Mistake`."""
    protocol = protocol_called(options.protocol)
    if options.lpips_weights and "lpips" not in protocol.titles:
        raise Mistake(f"--lpips-weights: the protocol {options.protocol} has no LPIPS")
    for path in filter(None, (options.save_npz, options.save_reference)):
        paths.require_new_file(path)
    images, reference = open_both(options, protocol)
    require_number(options, protocol, images, reference)
    if options.save_reference:
        require_inception(options, protocol)
    report_files(options, images, reference)

    from harness.evaluation.scoring import score

    return protocol, *score(options, protocol, images, reference)


def require_inception(options: argparse.Namespace, protocol: Protocol) -> None:
    """Raises `Mistake` if the features are not those of Inception with its published weights."""
    statistics = "--save-reference writes statistics of Inception features"
    if protocol.network != "inception":
        raise Mistake(f"{statistics}: {options.protocol} uses other features")
    measure = plugins.load("harness.networks.measures", protocol.network, "measure")
    weights = measure.weights_file(options.weights)
    if measure.WEIGHTS.other(weights):
        raise Mistake(f"{statistics}: {weights} is not {measure.WEIGHTS.upstream}")


def open_both(options: argparse.Namespace, protocol: Protocol) -> tuple[ImageSet, ImageSet]:
    """The images and their reference. Raises `Mistake` if they do not go together."""
    from harness.data.image_sets import open_images, require_pairs

    images = open_images(options.images, protocol.side)
    if not len(images):
        raise Mistake(f"{options.images} has statistics and no images: IMAGES must be images to score")
    if images.size[0] != images.size[1]:
        raise Mistake(f"{options.images}: images of {images.size[1]} x {images.size[0]} px are not square")
    folder = options.reference.is_dir()
    reference = open_images(options.reference, images.size[0], protocol.crop if folder else "none")
    if protocol.paired:
        require_pairs(images, reference, options.protocol)
    if not protocol.paired and reference.statistics is not None and protocol.network != "inception":
        raise Mistake(
            f"{options.reference} holds statistics of Inception features: {options.protocol} uses other features"
        )
    if reference.statistics is not None:
        require_widths(options, protocol, reference.statistics)
    return images, reference


def report_files(options: argparse.Namespace, images: ImageSet, reference: ImageSet) -> None:
    """Prints what of the folders and files is not used, and whether only one of the sets is compressed with loss."""
    images.passed_over.report(shown(options.images))
    reference.passed_over.report(shown(options.reference))
    if images.formats and reference.formats and images.lossy != reference.lossy:
        formats = (
            f"the images are {' and '.join(images.formats)} files, the reference {' and '.join(reference.formats)}"
        )
        print(f"note: {formats}; lossy compression alone changes the distances", file=sys.stderr)


def require_widths(options: argparse.Namespace, protocol: Protocol, statistics: FeatureStatistics) -> None:
    """Raises `Mistake` for statistics of features of another network."""
    measure = plugins.load("harness.networks.measures", protocol.network, "measure")
    widths = {"mu": (statistics.mu, measure.features), "mu_s": (statistics.mu_s, measure.spatial)}
    for name, (mean, width) in widths.items():
        if mean is not None and len(mean) != width:
            raise Mistake(f"{name} of {options.reference} has {len(mean)} values: {measure.title} has {width}")


def require_number(options: argparse.Namespace, protocol: Protocol, images: ImageSet, reference: ImageSet) -> None:
    """Raises `Mistake` for too few images, or if their number differs from the protocol's without --fewer."""
    for path, image_set in ((options.images, images), (options.reference, reference)):
        if len(image_set) < FEWEST and (
            len(image_set) or image_set.statistics is None
        ):  # a reference may be statistics alone
            raise Mistake(f"{path} holds {counted(len(image_set), 'image')}: at least {FEWEST} are needed")
    if protocol.images is None or len(images) == protocol.images:
        return
    if len(images) > protocol.images or not options.fewer:
        hint = "" if len(images) > protocol.images else "; --fewer scores them and names their number"
        raise Mistake(f"{options.protocol} takes {protocol.images} images, {options.images} holds {len(images)}{hint}")


if __name__ == "__main__":
    cli.run(main)
