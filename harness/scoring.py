"""The numbers of a protocol, from what its network saw of two sets of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import fidelity, frechet
from harness.frechet import Gaussian
from harness.imagesets import Statistics
from harness.looking import Looked
from harness.metrics import Value
from harness.metrics.psnr import of_errors
from harness.metrics.ssim import of_images
from harness.protocols import SMALL, Protocol

KID_SUBSETS = 100
BETTER = {"fd": "↓", "fd_infinity": "↓", "sfd": "↓", "kd": "↓", "lpips": "↓"}  # of all others higher is better
DIGITS = {"precision": 3, "recall": 3, "ssim": 4, "lpips": 4, "kd": 5}  # of all others 2


@dataclass(frozen=True)
class Reference:
    """What images are compared with: a Gaussian, one of sFID's features if any, features (m, D) if it has images."""

    gaussian: Gaussian
    spatial: Gaussian | None
    features: Tensor | None

    @classmethod
    def of(cls, looked: Looked | None, statistics: Statistics | None) -> Reference:
        """From images that were looked at, from statistics, which count more where there are any, or from both."""
        features = None if looked is None else looked.features
        if statistics is not None:
            gaussian = _gaussian(statistics.mu, statistics.sigma)
            has_spatial = statistics.mu_s is not None and statistics.sigma_s is not None
            return cls(gaussian, _gaussian(statistics.mu_s, statistics.sigma_s) if has_spatial else None, features)
        assert looked is not None
        return cls(looked.moments.gaussian, looked.spatial.gaussian if looked.spatial else None, features)


def _gaussian(mean: object, covariance: object) -> Gaussian:
    return Gaussian(torch.as_tensor(mean), torch.as_tensor(covariance))


def of_sets(protocol: Protocol, images: Looked, reference: Reference) -> dict[str, Value]:
    """The metrics of a protocol that look at features; those that the reference has nothing for are left out."""
    features, n, found = images.features, len(images.features), {}
    few = n < SMALL
    found["fd"] = Value(frechet.distance(images.moments.gaussian, reference.gaussian), n)
    if few:
        paired = reference.features if protocol.paired else None
        infinite = frechet.infinite(features, reference.gaussian if paired is None else paired)
        found["fd_infinity"] = Value(infinite.value, n, interval=infinite.interval)
    if "sfd" in protocol.titles and reference.spatial is not None and images.spatial is not None:
        found["sfd"] = Value(frechet.distance(images.spatial.gaussian, reference.spatial), n)
    if "score" in protocol.titles and images.logits is not None and n >= 2 * fidelity.SPLITS:
        mean, deviation = fidelity.classifier_score(images.logits)
        found["score"] = Value(mean, n, deviation)
    if "precision" in protocol.titles and reference.features is not None:
        precision, recall = fidelity.precision_recall(features, reference.features)
        found |= {"precision": Value(precision, n), "recall": Value(recall, n)}
    if "kd" in protocol.titles and reference.features is not None:
        size = min(protocol.kid_subset_images, n // 2, len(reference.features) // 2)
        mean, deviation = fidelity.kernel(features, reference.features, KID_SUBSETS, size)
        found["kd"] = Value(mean, n, deviation)
    # The kernel distance has no bias, so of few images it leads.
    order = (["kd"] if few else []) + list(found)
    return {name: found[name] for name in dict.fromkeys(order) if name in found}


def of_pairs(pairs: Iterable[tuple[Tensor, Tensor]], lpips: object) -> dict[str, Value]:
    """PSNR, SSIM and LPIPS, means over pairs of uint8 images (n, 3, H, W); `lpips` gives a distance (n,) of a batch."""
    sums, n = {"psnr": 0.0, "ssim": 0.0, "lpips": 0.0}, 0
    for a, b in pairs:
        errors = ((a.double() - b.double()) / 127.5).square().mean((1, 2, 3))
        sums["psnr"] += float(of_errors(errors).sum())
        sums["ssim"] += sum(of_images(a.numpy(), b.numpy()))
        sums["lpips"] += float(lpips(a, b).double().sum())  # type: ignore[operator]
        n += len(a)
    return {name: Value(total / n, n) for name, total in sums.items()}
