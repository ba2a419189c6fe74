"""Diagnostics of posterior collapse: a status by fixed rules, information, spectrum, a linear-Gaussian reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.posterior import Posterior


ACTIVE_VARIANCE = 0.01  # a unit is active if its posterior mean varies more than this over images (Burda et al. 2016)
RISE_NATS = 1.0  # KL rose if it was once this many nats per image above its earlier minimum
RISE_UNITS = 0.05  # active units rose if their share was once this much above its earlier minimum
COLLAPSED_SHARE = 0.1  # collapsed if less than this share of the rise is left at the end
PARTLY_SHARE = 0.5  # partly if less than this share of the rise is left, or of the units active, at the end
EIGENVALUE_IMAGES = 4096  # the pixel covariance is over these first images
LEAST_VARIANCE = 1e-10  # total over the dimensions of the posterior means: anything smaller is rounding
BLOCK = 512  # images at a time for the densities under all posteriors


RULES = (
    f"`never active`: KL never rose {RISE_NATS:g} nat per image above its earlier minimum. "
    f"`collapsed`: it rose, and at the end less than {COLLAPSED_SHARE:.0%} of the rise is left, or no unit is active. "
    f"`partly`: less than {PARTLY_SHARE:.0%} of the rise is left, or fewer than {PARTLY_SHARE:.0%} of the units are "
    "active. `active`: otherwise. A deterministic bottleneck has no KL and no status."
)


def status(kl: list[float], active_units: list[float]) -> str:
    """The status by `RULES`, from KL (nats per image) and the share of active units in the order of training."""
    floor, rise, _ = _largest_rise(kl)
    if rise < RISE_NATS:
        return "never active"
    left = (kl[-1] - floor) / rise
    if left < COLLAPSED_SHARE or active_units[-1] == 0:
        return "collapsed"
    return "partly" if left < PARTLY_SHARE or active_units[-1] < PARTLY_SHARE else "active"


def kept(curve: list[float], least_rise: float) -> float:
    """The share of its rise that a curve has left at the end, in [0, 1]; 0 if it never rose by `least_rise`."""
    floor, rise, _ = _largest_rise(curve)
    return 0.0 if rise < least_rise else min(1.0, max(0.0, (curve[-1] - floor) / rise))


def lost_at(steps: list[int], curve: list[float], least_rise: float) -> int | None:
    """The step from which less than `PARTLY_SHARE` of the rise is left for good; None if there is no such step.

    For a curve that never rose by `least_rise` it is the first step.
    """
    floor, rise, peak = _largest_rise(curve)
    if rise < least_rise:
        return steps[0]
    lost = None
    for step, value in zip(reversed(steps[peak:]), reversed(curve[peak:]), strict=True):
        if (value - floor) / rise >= PARTLY_SHARE:
            break
        lost = step
    return lost


def _largest_rise(curve: list[float]) -> tuple[float, float, int]:
    """The largest rise of a curve above its earlier minimum: that minimum, the rise, and the index of its top."""
    least, floor, rise, top = curve[0], curve[0], 0.0, 0
    for index, value in enumerate(curve):
        least = min(least, value)
        if value - least > rise:
            rise, floor, top = value - least, least, index
    return floor, rise, top


def active_units(mean: torch.Tensor) -> torch.Tensor:
    """A mask (L, Z) of the active units, by the variance over images of the posterior mean (n, L, Z)."""
    return mean.float().var(0) > ACTIVE_VARIANCE


def mutual_information(posterior: Posterior, noise: torch.Tensor) -> tuple[float, float]:
    """Mutual information I(x; z) in nats, a lower bound in expectation, and its standard error over images.

    Estimates E_x E_{z ~ q(z|x)} [log q(z|x) - log (1/N) sum_j q(z|x_j)] from one sample z = mean + sigma * noise of
    each of the N posteriors (N, L, Z). The image itself is among the x_j. For the N images it is their mutual
    information (Hoffman & Johnson 2016); for all images it is InfoNCE with a known conditional (Poole et al. 2019).
    At most log N; 0 if all posteriors are the same.
    """
    import math

    import torch

    assert posterior.log_variance is not None, "a deterministic bottleneck has no density"
    mean, log_variance = posterior.mean.double().flatten(1), posterior.log_variance.double().flatten(1)
    mean = mean - mean.mean(0)  # the squares below cancel, and small numbers lose less by that
    z = mean + (log_variance / 2).exp() * noise.double().flatten(1)
    # Up to a constant, log q(z|x_j) is z . (mean / sigma²)_j - (z² . (1 / sigma²)_j + offset_j) / 2.
    precision = (-log_variance).exp()
    offset = (mean.square() * precision + log_variance).sum(1)
    gains = []
    for own in torch.arange(len(z)).split(BLOCK):
        log_density = z[own] @ (mean * precision).T - (z[own].square() @ precision.T + offset) / 2
        gains.append(log_density.gather(1, own[:, None])[:, 0] - log_density.logsumexp(1))
    gain = torch.cat(gains)
    return gain.mean().item() + math.log(len(z)), gain.std().item() / math.sqrt(len(z))


def gaussian_rate(posterior: Posterior) -> float:
    """Rate E_x KL(q(z|x) || r) in nats; r has mean and covariance of the aggregated posterior (N, L, Z).

    r is Gaussian. No other Gaussian has a smaller rate, so it is an upper bound on I(x; z) (Barber & Agakov 2003;
    rate: Alemi et al. 2018), also if I(x; z) is above log N. It equals (log det of the aggregated covariance - mean log
    det of the posteriors) / 2. In [0, inf); 0 if all posteriors are the same.
    """
    import numpy as np

    assert posterior.log_variance is not None, "a deterministic bottleneck has no density"
    mean, log_variance = posterior.mean.double().flatten(1), posterior.log_variance.double().flatten(1)
    noise = log_variance.exp().mean(0)
    # log det(noise + covariance of the means), with the noise factored out: the rest is stable for any small noise.
    signal = covariance_eigenvalues((mean / noise.sqrt()).numpy())
    return float(np.log1p(signal.clip(0)).sum() + (noise.log() - log_variance.mean(0)).sum().item()) / 2


def effective_rank(eigenvalues: np.ndarray) -> float | None:
    """Effective rank, in [1, D]: exp of the entropy of the normalised eigenvalues (none negative) of a covariance.

    Roy & Vetterli (2007). None if nothing varies. It counts dimensions and ignores how much they vary.
    """
    import numpy as np

    if eigenvalues.sum() < LEAST_VARIANCE:
        return None
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def isotropy(eigenvalues: np.ndarray, dimensions: int) -> float | None:
    """Isotropy, in [1/D, 1]: the participation ratio (sum λ)² / sum λ² of a covariance's eigenvalues, divided by D.

    1 if all D `dimensions` vary alike (participation ratio: Gao et al. 2017). None if nothing varies.
    """
    if eigenvalues.sum() < LEAST_VARIANCE:
        return None
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum() / dimensions)


def covariance_eigenvalues(x: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first, of the covariance of x (n, D): min(n, D) of them, as any others are 0."""
    import numpy as np

    x = x - x.mean(0)
    # X^T X and X X^T share their nonzero eigenvalues, and the smaller one is faster.
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    return np.linalg.eigvalsh(gram / (len(x) - 1))[::-1].copy()


def pixel_eigenvalues(images: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first, of the pixel covariance on [-1, 1] over the first of uint8 images (n, H, W, 3)."""
    import numpy as np

    first = images[:EIGENVALUE_IMAGES]
    return covariance_eigenvalues(first.reshape(len(first), -1).astype(np.float32) / np.float32(127.5) - 1)


def linear_gaussian_kl(eigenvalues: np.ndarray, pixels: int, kl_weight: float, dimensions: int) -> float:
    """KL in nats per image that the best linear-Gaussian model spends at this weight, by reverse water-filling.

    The model minimises the mean squared error over the D = 3HW `pixels` plus `kl_weight` times KL. The data are
    Gaussian with these `eigenvalues` of the pixel covariance (on [-1, 1]); there are at most `dimensions` latent
    dimensions. Every eigenvalue above the water level kl_weight D / 2 costs half its log-ratio to that level (Cover &
    Thomas, Sec. 10.3.3). This holds for the squared error alone, without a perceptual term.
    """
    import numpy as np

    level = kl_weight * pixels / 2
    if level == 0:
        return float("inf")
    largest = np.sort(eigenvalues)[::-1][:dimensions]
    return float(np.log(np.maximum(largest, level) / level).sum() / 2)
