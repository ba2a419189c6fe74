"""Computes the numbers of a protocol from the outputs of its network for two sets of images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from harness.data.adm_files import FeatureStatistics, write_reference, write_samples
from harness.data.image_sets import ImageSet
from harness.evaluation import fidelity, frechet, protocol_texts
from harness.evaluation.feature_cache import SeenImages, look, pairs
from harness.evaluation.frechet import Gaussian
from harness.evaluation.pixels import psnr, ssim
from harness.evaluation.protocols import ALONE, SMALL, Protocol, are_of_imagenet_val, other_weights
from harness.evaluation.records import Value, number, protocol_id, seen_by
from harness.networks import lpips as lpips_distance
from harness.networks.weight_files import short_checksum
from harness.store.records import Record
from harness.system import plugins, terminal
from harness.system.machine import this_machine

KID_SUBSETS = 100
ORDER_IMAGES = 256  # evenly spaced images, to see whether pairs are in order
BETTER = {"fd": "↓", "fd_infinity": "↓", "sfd": "↓", "kd": "↓", "lpips": "↓"}  # for the others higher is better
DIGITS = {"precision": 3, "recall": 3, "ssim": 4, "lpips": 4}  # 2 for the others, except for distances
DISTANCES = {  # to the attribute of a measure with their digits
    "fd": "frechet_digits",
    "fd_infinity": "frechet_digits",
    "sfd": "frechet_digits",
    "kd": "kernel_digits",
}


@dataclass(frozen=True)
class Naming:
    """How the numbers of an evaluation over `n` images are called.

    `other_images`: the images are not those that the protocol names. `weights` and `vgg` are digits of the checksums of
    the weights of the network and of LPIPS if these are not the published ones, else "".
    """

    name: str
    protocol: Protocol
    n: int
    other_images: bool
    weights: str
    vgg: str

    def title(self, metric: str) -> str:
        """The protocol's title if images, their number and weights are the protocol's; else it says what is not."""
        alone, infinity, _ = metric.partition("_infinity")
        title = self.protocol.titles[alone]
        if digits := self._digits(metric):
            network = "VGG-16" if metric == "lpips" else self.measure.short
            paired = "r" if self.protocol.paired and alone in ("fd", "kd") else ""
            title = f"{paired}{ALONE[alone]} ({seen_by(network, digits)})"
        title += "∞" if infinity else ""
        if self.protocol.images not in (None, self.n):
            return f"{title} (N = {self.n:,})"
        return f"{title} (other images)" if self.other_images else title

    def protocol_name(self, metric: str) -> str:
        """The name of the protocol in the id of a number."""
        number = "" if self.protocol.images in (None, self.n) else f"-at-{self.n}"
        images = "-other-images" if self.other_images else ""
        return f"{self.name}{number}{images}{other_weights(self._digits(metric))}"

    def _digits(self, metric: str) -> str:
        return {"psnr": "", "ssim": "", "lpips": self.vgg}.get(metric, self.weights)

    @property
    def measure(self) -> ModuleType:
        """The network that sees the images."""
        return plugins.load("harness.networks.measures", self.protocol.network, "measure")


def score(
    options: argparse.Namespace, protocol: Protocol, images: ImageSet, reference: ImageSet
) -> tuple[dict[str, Record], str]:
    """The records of all numbers of the protocol by metric, each with its text and id; the common end of the texts."""
    measure = plugins.load("harness.networks.measures", protocol.network, "measure")
    weights = measure.weights_file(options.weights)
    vgg = lpips_distance.weights_file(options.lpips_weights) if "lpips" in protocol.titles else None
    machine = this_machine()
    network = measure.load(machine, protocol.px, options.weights)
    lpips = lpips_distance.load(machine, vgg) if vgg else None
    identity = [protocol.network, short_checksum(weights), protocol.px]

    def outputs(image_set: ImageSet) -> SeenImages | None:
        return look(image_set, network, identity, options.runs, options.quiet) if len(image_set) else None

    digests = [image_set.digest for image_set in (images, reference)]  # reads all files before any long computation
    seen, seen_reference = outputs(images), outputs(reference)
    assert seen is not None
    statistics = None if protocol.paired else reference.statistics
    values = of_sets(protocol, seen, ReferenceSet.of(seen_reference, statistics))
    if lpips is not None:
        warn_of_order(images, reference, seen, seen_reference)
        values |= of_pairs(pairs(images, reference), lpips)
    save(options, images, seen)
    px = protocol.px or measure.default_px
    common = (
        f"{measure.title}, {measure.WEIGHTS.described(weights)}, {px} px {measure.resizing}, 8-bit; {images.kind}; "
        f"reference: {reference.about}, content {digests[1][:12]}; {options.how}"
    )
    if protocol.paired and (images.names is None or reference.names is None):
        common += "; paired by position"
    naming = Naming(
        options.protocol,
        protocol,
        len(images),
        other_images=protocol.paired and not are_of_imagenet_val(reference.names or ()),
        weights=measure.WEIGHTS.other(weights),
        vgg=lpips_distance.WEIGHTS.other(vgg) if vgg else "",
    )
    of_lpips = f"{lpips_distance.title}, {lpips_distance.WEIGHTS.described(vgg)}; " if vgg else ""
    records = {}
    for name, value in values.items():
        text = f"{of_lpips if name == 'lpips' else ''}{_way(name, protocol, value.n)}{common}"
        digest = protocol_id(naming.protocol_name(name), name, text, "images", value.n)
        error = value.deviation, value.interval
        records[name] = Record(naming.title(name), value.value, value.n, 0, "images", text, *error, digest)
    return records, common


def _way(name: str, protocol: Protocol, n: int) -> str:
    """How a number is computed; empty if there is only one way."""
    size = min(protocol.kid_subset_images, n // 2)
    ways = {
        "fd": f"{protocol_texts.BACKEND}; ",
        "sfd": "Fréchet distance in float64 of the spatial features; ",
        "fd_infinity": f"2 FD(N) - FD(N / 2), 95 % interval by {frechet.REPLICATES} bootstrap replicates; ",
        "kd": f"torch-fidelity, cubic kernel, unbiased, {KID_SUBSETS} subsets of at most {size}; ",
        "score": f"{fidelity.SPLITS} splits, shuffled; ",
        "precision": f"{fidelity.NEIGHBOURS} nearest neighbours; ",
        "recall": f"{fidelity.NEIGHBOURS} nearest neighbours; ",
        "psnr": "8-bit RGB, per image, then the mean over images; ",
        "ssim": "scikit-image, Gaussian window 11 px sigma 1.5, 8-bit RGB, mean over channels and images; ",
    }
    return ways.get(name, "")


def warn_of_order(images: ImageSet, originals: ImageSet, seen: SeenImages, seen_originals: SeenImages | None) -> None:
    """Prints a warning if most images resemble an original other than their own: then the orders differ.

    Images that a collapsed tokenizer decodes resemble a few originals, whatever the order, and give no warning.
    """
    if seen_originals is None or (images.names is not None and originals.names is not None):
        return
    n = len(seen.features)
    count = min(ORDER_IMAGES, n)
    rows = torch.arange(count) * n // count
    distances = torch.cdist(seen.features[rows], seen_originals.features)
    nearest, own = distances.min(1), distances[torch.arange(len(rows)), rows]
    elsewhere = (nearest.indices != rows).double().mean().item()
    if elsewhere > 0.5 and len(nearest.indices.unique()) > len(rows) / 2 and nearest.values.mean() < own.mean() / 2:
        print(
            f"warning: {elsewhere:.0%} of the images resemble the original at another position much more than theirs: "
            "are both sets in one order? Images of a folder come in natural order, 2 before 10",
            file=sys.stderr,
        )


def table(protocol: Protocol, records: Mapping[str, Record]) -> str:
    """A table of the numbers by metric, with their errors, N and protocol id."""
    measure = plugins.load("harness.networks.measures", protocol.network, "measure")
    lines = []
    for name, r in records.items():
        digits = getattr(measure, DISTANCES[name]) if name in DISTANCES else DIGITS.get(name, 2)
        value = number(r.value, digits, r.deviation, r.interval)
        lines.append((f"{r.metric} {BETTER.get(name, '↑')}", value, f"{r.n:,}", r.protocol_id))
    text = terminal.table(lines, ("metric", "value", "N", "protocol"))
    if "kd" in records and records["kd"].n < SMALL:
        text += f"\n\nBelow {SMALL:,} images the kernel distance comes first, as it has no bias."
    return text


def save(options: argparse.Namespace, images: ImageSet, seen: SeenImages) -> None:
    """Writes the files of `--save-npz` and `--save-reference`."""
    if options.save_npz:
        write_samples(options.save_npz, images.batches(fidelity.BATCH), len(images), images.size)
    if options.save_reference:
        pooled, spatial = seen.moments.gaussian, seen.spatial and seen.spatial.gaussian
        parts: list[Any] = [pooled.mean.numpy(), pooled.covariance.numpy()]
        parts += [spatial.mean.numpy(), spatial.covariance.numpy()] if spatial else []
        samples = images.batches(fidelity.BATCH), len(images), images.size
        write_reference(options.save_reference, FeatureStatistics(*parts), *samples)


@dataclass(frozen=True)
class ReferenceSet:
    """The reference: a Gaussian, a Gaussian of spatial features if any, and features (m, D) if it has images."""

    gaussian: Gaussian
    spatial: Gaussian | None
    features: Tensor | None

    @classmethod
    def of(cls, seen: SeenImages | None, statistics: FeatureStatistics | None) -> ReferenceSet:
        """The reference of images, of statistics, or of both: the Gaussians are those of the statistics, if given."""
        features = None if seen is None else seen.features
        if statistics is not None:
            gaussian = _gaussian(statistics.mu, statistics.sigma)
            has_spatial = statistics.mu_s is not None and statistics.sigma_s is not None
            return cls(gaussian, _gaussian(statistics.mu_s, statistics.sigma_s) if has_spatial else None, features)
        assert seen is not None
        return cls(seen.moments.gaussian, seen.spatial.gaussian if seen.spatial else None, features)


def _gaussian(mean: object, covariance: object) -> Gaussian:
    return Gaussian(torch.as_tensor(mean), torch.as_tensor(covariance))


def of_sets(protocol: Protocol, images: SeenImages, reference: ReferenceSet) -> dict[str, Value]:
    """The metrics of a protocol on features, without those for which the reference lacks features or statistics."""
    features, n, values = images.features, len(images.features), {}
    few = n < SMALL
    values["fd"] = Value(frechet.distance(images.moments.gaussian, reference.gaussian), n)
    if few:
        paired = reference.features if protocol.paired else None
        infinite = frechet.infinite(features, reference.gaussian if paired is None else paired)
        values["fd_infinity"] = Value(infinite.value, n, interval=infinite.interval)
    if "sfd" in protocol.titles and reference.spatial is not None and images.spatial is not None:
        values["sfd"] = Value(frechet.distance(images.spatial.gaussian, reference.spatial), n)
    if "score" in protocol.titles and images.logits is not None and n >= 2 * fidelity.SPLITS:
        mean, deviation = fidelity.classifier_score(images.logits)
        values["score"] = Value(mean, n, deviation)
    if "precision" in protocol.titles and reference.features is not None:
        precision, recall = fidelity.precision_recall(features, reference.features)
        values |= {"precision": Value(precision, n), "recall": Value(recall, n)}
    if "kd" in protocol.titles and reference.features is not None:
        size = min(protocol.kid_subset_images, n // 2, len(reference.features) // 2)
        mean, deviation = fidelity.kernel(features, reference.features, KID_SUBSETS, size)
        values["kd"] = Value(mean, n, deviation)
    # The kernel distance has no bias, so it leads if there are few images.
    order = (["kd"] if few else []) + list(values)
    return {name: values[name] for name in dict.fromkeys(order) if name in values}


def of_pairs(pairs: Iterable[tuple[Tensor, Tensor]], lpips: object) -> dict[str, Value]:
    """PSNR, SSIM and LPIPS, means over pairs of uint8 images (n, 3, H, W); `lpips` gives distances (n,)."""
    sums, n = {"psnr": 0.0, "ssim": 0.0, "lpips": 0.0}, 0
    for a, b in pairs:
        errors = ((a.double() - b.double()) / 127.5).square().mean((1, 2, 3))
        sums["psnr"] += float(psnr(errors).sum())
        sums["ssim"] += sum(ssim(a.numpy(), b.numpy()))
        sums["lpips"] += float(lpips(a, b).double().sum())  # type: ignore[operator]
        n += len(a)
    return {name: Value(total / n, n) for name, total in sums.items()}
