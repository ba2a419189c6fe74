"""Fréchet distance of Gaussians fitted to features, in float64, and what it would be of infinitely many images.

|mu_a - mu_b|² + Tr(S_a + S_b - 2 (S_a S_b)^1/2) (Dowson & Landau 1982; Heusel et al. 2017). With S = F F^T the last
trace is the sum of the singular values of F_a^T F_b, which are the roots of the eigenvalues of S_a S_b: no root of a
matrix is taken, and a covariance of fewer images than features, which is singular, is as good as any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

REPLICATES = 40  # of the bootstrap: they only give a standard error
HALVINGS = 4  # random halves that the extrapolation of the images themselves is averaged over
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def factor(self) -> Tensor:
        """F (D, D) with F F^T the covariance."""
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        return vectors * eigenvalues.clamp(min=0).sqrt()


@dataclass(frozen=True)
class FeatureMoments:
    """How many features were seen, their mean (D,) and their scatter about it (D, D), float64; parts add up."""

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
        """The Gaussian fitted to them, with the unbiased covariance; raises ValueError for fewer than two."""
        if self.n < 2:
            raise ValueError("a covariance takes at least two images")
        return Gaussian(self.mean, self.scatter / (self.n - 1))


def moments(parts: Iterable[Tensor]) -> FeatureMoments:
    """The moments of features that come in parts (n, D), in memory that does not grow with their number."""
    found: FeatureMoments | None = None
    for part in parts:
        found = FeatureMoments.of(part) if found is None else found + FeatureMoments.of(part)
    if found is None:
        raise ValueError("no features")
    return found


def distance(a: Gaussian, b: Gaussian) -> float:
    """The Fréchet distance of two Gaussians; 0 where they are equal but for rounding."""
    traces = a.covariance.trace() + b.covariance.trace()
    overlap = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    return max(0.0, float((a.mean - b.mean).square().sum() + traces - 2 * overlap))


def of_features(images: Tensor, reference: Tensor) -> float:
    """The Fréchet distance of Gaussians fitted to features (n, D) and (m, D)."""
    return distance(FeatureMoments.of(images).gaussian, FeatureMoments.of(reference).gaussian)


class Infinite(NamedTuple):
    """FD_inf: the distance extrapolated to infinitely many images, and its standard error by the bootstrap."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; how often it covers is measured in `harness.bench`."""
        return self.value - NORMAL_95 * self.error, self.value + NORMAL_95 * self.error


def infinite(
    images: Tensor, reference: Gaussian | Tensor, halvings: int = HALVINGS, replicates: int = REPLICATES
) -> Infinite:
    """FD_inf of features (n, D) of n >= 4 images; raises ValueError for fewer.

    The distance of n images is FD_inf + c / n to first order, with c unknown (Chong & Forsyth 2020). All n and their
    halves give two points of that line: FD_inf = 2 FD(n) - FD(n / 2). A `reference` of features (n, D) belongs to the
    images one by one (reconstructions and their originals) and is halved and resampled with them; a Gaussian stands.
    """
    n = len(images)
    if n < 4:
        raise ValueError("an extrapolation takes at least four images")
    generator = torch.Generator().manual_seed(0)
    x = images.double()
    paired = reference.double() if isinstance(reference, Tensor) else None
    standing = _Fitted(reference.mean, reference.factor) if isinstance(reference, Gaussian) else None

    def fd(indices: Tensor) -> float:
        against = standing if paired is None else _Fitted.to(paired[indices])
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
    """A Gaussian by its mean (D,) and a factor F (D, k) of its covariance: quicker where hundreds are fitted."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def to(cls, x: Tensor) -> _Fitted:
        """Fitted to features (n, D)."""
        mean = x.mean(0)
        centred = (x - mean) / (len(x) - 1) ** 0.5
        return cls(mean, torch.linalg.qr(centred, mode="r").R.T if len(x) > x.shape[1] else centred.T)

    def distance(self, other: _Fitted) -> float:
        product = self.factor.T @ other.factor
        square = product @ product.T if product.shape[0] < product.shape[1] else product.T @ product
        # The smaller of the two squares has hardly a zero eigenvalue, whose root would be all rounding.
        overlap = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()
        traces = self.factor.square().sum() + other.factor.square().sum()
        return float((self.mean - other.mean).square().sum() + traces - 2 * overlap)
