"""Diagnostics of posterior collapse: a status by fixed rules, information, spectrum, a linear-Gaussian reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.evaluation.reconstructed import Reconstructed
    from harness.experiments.experiment import Experiment
    from models.autoencoders.posterior import Posterior


ACTIVE_NATS = 0.01  # a unit is active if its KL is above this on average over images, and
ACTIVE_VARIANCE = 0.01  # if its posterior mean varies more than this over images (Burda et al. 2016)
USED_ERROR = 0.01  # the decoder uses the latents if those of another image raise the squared error by this
LEAST_NATS = 1.0  # less is no information
COLLAPSED_SHARE = 0.1  # collapsed if less than this share of the information is left at the end
PARTLY_SHARE = 0.5  # partly if less than this share is left, or less than this share of the linear-Gaussian KL
LEAST_VARIANCE = 1e-10  # total over the dimensions of the posterior means: anything smaller is rounding
BLOCK = 512  # images at a time for the densities under all posteriors


RULES = (
    "The status follows from the information in the latents over the training. The shuffled-latent error is the rise "
    "of the squared error when the decoder gets the latents of another image. The information is the KL times this "
    "error as a share of its largest value, because KL that the decoder does not use is no information. "
    f"`never active`: the error never reached {USED_ERROR:g}, or the information never reached {LEAST_NATS:g} nat. "
    f"`collapsed`: at the end less than {COLLAPSED_SHARE:.0%} of the largest information is left, or the KL is below "
    f"{LEAST_NATS:g} nat. `partly`: less than {PARTLY_SHARE:.0%} of it is left, or the KL is below {PARTLY_SHARE:.0%} "
    "of the linear-Gaussian KL. `active`: otherwise. A bottleneck without KL has no status."
)


def status(kl: list[float], shuffled: list[float], optimum: float | None = None) -> str:
    """The status by `RULES`, from KL (nats per image) and shuffled-latent error in the order of training.

    `optimum` is the KL of the best linear-Gaussian model at the same weight, if known.
    """
    if max(_information(kl, shuffled), default=0.0) < LEAST_NATS:
        return "never active"
    left = kept(kl, shuffled)[-1]
    if left < COLLAPSED_SHARE or kl[-1] < LEAST_NATS:
        return "collapsed"
    below = optimum is not None and kl[-1] < PARTLY_SHARE * optimum
    return "partly" if left < PARTLY_SHARE or below else "active"


def kept(kl: list[float], shuffled: list[float]) -> list[float]:
    """The share of its largest information that a training has at every moment, in [0, 1]; 0 if it never had any."""
    held = _information(kl, shuffled)
    most = max(held, default=0.0)
    return [0.0 if most < LEAST_NATS else value / most for value in held]


def lost_at(steps: list[int], kl: list[float], shuffled: list[float]) -> int | None:
    """The step from which less than `PARTLY_SHARE` is kept for good; None if there is no such step.

    For latents that never hold information it is the first step.
    """
    lost = None
    for step, share in zip(reversed(steps), reversed(kept(kl, shuffled)), strict=True):
        if share >= PARTLY_SHARE:
            break
        lost = step
    return lost


def _information(kl: list[float], shuffled: list[float]) -> list[float]:
    """What the latents hold at every moment by `RULES`, in nats; 0 if the decoder never uses them."""
    most = max(shuffled, default=0.0)
    if most < USED_ERROR:
        return [0.0] * len(kl)
    return [k * max(0.0, s) / most for k, s in zip(kl, shuffled, strict=True)]


def active_units(posterior: Posterior) -> torch.Tensor:
    """A mask (L, Z) of the active units of posteriors (n, L, Z), by their KL and the variance of their mean.

    The variance alone would count units whose noise hides it; the KL alone would count units whose posterior is the
    same for all images. Neither says whether the decoder uses them: see `kept`. A deterministic bottleneck has the
    variance only.
    """
    varies = posterior.mean.float().var(0) > ACTIVE_VARIANCE
    return varies if posterior.log_variance is None else varies & (posterior.kl().mean(0) > ACTIVE_NATS)


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


def code_counts(m: Reconstructed) -> torch.Tensor | None:
    """How often each code stands for a token of the images; None if latents are not made of codes."""
    import torch

    codes = m.posterior.codes
    if codes is None:
        return None
    quantiser = m.tokenizer.quantiser
    assert quantiser is not None, "codes come from a quantiser"
    return torch.bincount(codes.flatten(), minlength=quantiser.count)


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


def water_level(experiment: Experiment) -> float:
    """The variance below which the linear-Gaussian optimum leaves out a component: KL weight x 3HW / 2."""
    return experiment.tokenizer.gaussian.kl_weight * 3 * experiment.data.image_size**2 / 2


def linear_gaussian_kl(eigenvalues: np.ndarray, level: float, dimensions: int) -> float:
    """KL in nats per image that the best linear-Gaussian model spends at a water level, by reverse water-filling.

    The model minimises the mean squared error over the D = 3HW pixels plus a KL weight times KL. The data are Gaussian
    with these `eigenvalues` of the pixel covariance (on [-1, 1]); there are at most `dimensions` latent dimensions.
    Every eigenvalue above the water level costs half its log-ratio to that level (Cover & Thomas, Sec. 10.3.3). This
    holds for the squared error alone, without a perceptual term.
    """
    import numpy as np

    if level == 0:
        return float("inf")
    largest = np.sort(eigenvalues)[::-1][:dimensions]
    return float(np.log(np.maximum(largest, level) / level).sum() / 2)
