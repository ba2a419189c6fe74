"""Fréchet distance of Gaussians fitted to features, in float64, and its extrapolation to infinitely many images.

The distance is |mu_a - mu_b|² + Tr(S_a + S_b - 2 (S_a S_b)^1/2) (Dowson & Landau 1982; Heusel et al. 2017). With
S = F F^T the last trace is the sum of the singular values of F_a^T F_b, which are the roots of the eigenvalues of
S_a S_b. This takes no root of a matrix, and also works for a singular covariance (fewer images than features).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

REPLICATES = 40  # bootstrap replicates: enough for a standard error
HALVINGS = 4  # random halvings over which the estimate is averaged
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def factor(self) -> Tensor:
        """A factor F (D, D) of the covariance F F^T."""
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        return vectors * eigenvalues.clamp(min=0).sqrt()


@dataclass(frozen=True)
class FeatureMoments:
    """The number of features, their mean (D,) and their scatter about it (D, D), float64; `+` merges two parts."""

    n: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureMoments:
        """The moments of features (n, D)."""
        x = features.double()
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def __add__(self, other: FeatureMoments) -> FeatureMoments:
        """The moments of both parts together (Chan et al. 1983)."""
        n, between = self.n + other.n, other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(between, between) * (self.n * other.n / n)
        return FeatureMoments(n, self.mean + between * (other.n / n), scatter)

    @cached_property
    def gaussian(self) -> Gaussian:
        """The Gaussian with this mean and the unbiased covariance; raises ValueError for fewer than two features."""
        if self.n < 2:
            raise ValueError("a covariance takes at least two images")
        return Gaussian(self.mean, self.scatter / (self.n - 1))


def moments(parts: Iterable[Tensor]) -> FeatureMoments:
    """The moments of features in parts (n, D), in memory that does not grow with the number of parts."""
    total: FeatureMoments | None = None
    for part in parts:
        total = FeatureMoments.of(part) if total is None else total + FeatureMoments.of(part)
    if total is None:
        raise ValueError("no features")
    return total


def distance(a: Gaussian, b: Gaussian) -> float:
    """The Fréchet distance of two Gaussians; 0, up to rounding, if they are equal."""
    traces = a.covariance.trace() + b.covariance.trace()
    overlap = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    return max(0.0, float((a.mean - b.mean).square().sum() + traces - 2 * overlap))


def of_features(images: Tensor, reference: Tensor) -> float:
    """The Fréchet distance of Gaussians fitted to features (n, D) and (m, D)."""
    return distance(FeatureMoments.of(images).gaussian, FeatureMoments.of(reference).gaussian)


class Infinite(NamedTuple):
    """FD_inf, the distance extrapolated to infinitely many images, and its bootstrap standard error."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; `harness.bench` measures its coverage."""
        return self.value - NORMAL_95 * self.error, self.value + NORMAL_95 * self.error


def infinite(
    images: Tensor, reference: Gaussian | Tensor, halvings: int = HALVINGS, replicates: int = REPLICATES
) -> Infinite:
    """FD_inf of features (n, D) of n >= 4 images; raises ValueError for fewer.

    To first order the distance of n images is FD_inf + c / n, with c unknown (Chong & Forsyth 2020). All images and
    their halves give two points of that line, so FD_inf = 2 FD(n) - FD(n / 2). If `reference` holds features (n, D),
    they are paired with the images (originals of reconstructions), and are halved and resampled with them. A Gaussian
    stays fixed.
    """
    n = len(images)
    if n < 4:
        raise ValueError("an extrapolation takes at least four images")
    generator = torch.Generator().manual_seed(0)
    x = images.double()
    paired = reference.double() if isinstance(reference, Tensor) else None
    fixed = _Fitted(reference.mean, reference.factor) if isinstance(reference, Gaussian) else None

    def fd(indices: Tensor) -> float:
        against = fixed if paired is None else _Fitted.to(paired[indices])
        assert against is not None
        return _Fitted.to(x[indices]).distance(against)

    def extrapolated(indices: Tensor, times: int) -> float:
        halves = []
        for _ in range(times):
            order = indices[torch.randperm(n, generator=generator)]
            halves += [fd(order[: n // 2]), fd(order[n // 2 : 2 * (n // 2)])]
        return 2 * fd(indices) - sum(halves) / len(halves)

    value = extrapolated(torch.arange(n), halvings)
    drawn = [extrapolated(torch.randint(n, (n,), generator=generator), 1) for _ in range(replicates)]
    return Infinite(value, float(torch.tensor(drawn, dtype=torch.float64).std()))


class _Fitted(NamedTuple):
    """A Gaussian by its mean (D,) and a factor F (D, k) of its covariance: faster when hundreds are fitted."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def to(cls, x: Tensor) -> _Fitted:
        """The Gaussian fitted to features (n, D)."""
        mean = x.mean(0)
        centred = (x - mean) / (len(x) - 1) ** 0.5
        return cls(mean, torch.linalg.qr(centred, mode="r").R.T if len(x) > x.shape[1] else centred.T)

    def distance(self, other: _Fitted) -> float:
        product = self.factor.T @ other.factor
        square = product @ product.T if product.shape[0] < product.shape[1] else product.T @ product
        # The smaller square has hardly any zero eigenvalues: the root of a zero would be rounding alone.
        overlap = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()
        traces = self.factor.square().sum() + other.factor.square().sum()
        return float((self.mean - other.mean).square().sum() + traces - 2 * overlap)
