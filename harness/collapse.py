"""Diagnostics of posterior collapse: the curves, the status by stated rules, the linear-Gaussian reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.machine import Machine
    from models.tokenizer import Posterior, Tokenizer

ACTIVE_VARIANCE = 0.01  # a unit is active when its posterior mean varies more than this over images (Burda et al. 2016)
RISE_NATS = 1.0  # KL rose when it once stood a nat per image above the least before
COLLAPSED_SHARE = 0.1  # of that rise is left at the end: collapsed
PARTLY_SHARE = 0.5  # of that rise is left at the end, or of the units are active: partly
EIGENVALUE_IMAGES = 4096  # whose pixel covariance is taken

RULES = (
    f"`never active`: KL never rose {RISE_NATS:g} nat per image above its least before. "
    f"`collapsed`: it rose, and at the end less than {COLLAPSED_SHARE:.0%} of the rise is left, or no unit is active. "
    f"`partly`: less than {PARTLY_SHARE:.0%} of the rise is left, or fewer than {PARTLY_SHARE:.0%} of the units are "
    "active. `active`: otherwise. A deterministic bottleneck has no KL and no status."
)


def status(kl: list[float], active_units: list[float]) -> str:
    """The status by `RULES` from KL (nats per image) and share of active units over training, first to last."""
    least, floor, rise = kl[0], kl[0], 0.0
    for value in kl:
        least = min(least, value)
        if value - least > rise:
            rise, floor = value - least, least
    if rise < RISE_NATS:
        return "never active"
    left = (kl[-1] - floor) / rise
    if left < COLLAPSED_SHARE or active_units[-1] == 0:
        return "collapsed"
    return "partly" if left < PARTLY_SHARE or active_units[-1] < PARTLY_SHARE else "active"


def active_units(mean: torch.Tensor) -> torch.Tensor:
    """Which of the L x Z units are active (L, Z), by the variance over images of the posterior mean (n, L, Z)."""
    return mean.float().var(0) > ACTIVE_VARIANCE


def pixel_eigenvalues(images: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first, of the pixel covariance on [-1, 1] of the first uint8 images (n, H, W, 3)."""
    import numpy as np

    first = images[:EIGENVALUE_IMAGES]
    pixels = first.reshape(len(first), -1).astype(np.float32) / np.float32(127.5) - 1
    pixels -= pixels.mean(0)
    # X^T X and X X^T have the same eigenvalues but for zeros: the smaller one is taken.
    gram = pixels @ pixels.T if len(pixels) < pixels.shape[1] else pixels.T @ pixels
    return np.linalg.eigvalsh(gram / (len(pixels) - 1))[::-1].copy()


def linear_gaussian_kl(eigenvalues: np.ndarray, pixels: int, kl_weight: float, dimensions: int) -> float:
    """KL in nats per image that the best linear-Gaussian model spends at this weight, by reverse water-filling.

    It minimises the squared error as a mean over the D = 3HW `pixels` plus `kl_weight` times KL, for a Gaussian with
    these `eigenvalues` of the pixel covariance (on [-1, 1]) and at most `dimensions` latent dimensions: eigenvalues
    above the water level kl_weight D / 2 each cost half their log-ratio to it (Cover & Thomas, Sec. 10.3.3). It
    holds for the squared error alone, without a perceptual term.
    """
    import numpy as np

    level = kl_weight * pixels / 2
    if level == 0:
        return float("inf")
    largest = np.sort(eigenvalues)[::-1][:dimensions]
    return float(np.log(np.maximum(largest, level) / level).sum() / 2)


class Validation:
    """Error, KL, active units and shuffled-latent error on the first validation images, during training.

    All are of the posterior mode. `val/shuffled_error` is the rise of the squared error when every image is decoded
    from the latents of another.
    """

    IMAGES = 256

    def __init__(self, images: np.ndarray, machine: Machine):
        from harness.images import to_tensor

        self.machine = machine
        self.x = machine.put(to_tensor(images[: self.IMAGES]))

    def __call__(self, tokenizer: Tokenizer) -> dict[str, float]:
        import torch

        with torch.no_grad(), self.machine.autocast():
            posterior = tokenizer.encode(self.x)
            error = (tokenizer.decode(posterior.mean) - self.x).square().mean().item()
            shuffled = (tokenizer.decode(posterior.mean.roll(1, 0)) - self.x).square().mean().item()
        return {"val/error": error, "val/shuffled_error": shuffled - error, **_of_latents(posterior)}


def _of_latents(posterior: Posterior) -> dict[str, float]:
    active = active_units(posterior.mean).float().mean().item()
    if posterior.log_variance is None:
        return {"val/active_units": active}
    return {"val/active_units": active, "val/kl": posterior.kl().sum((1, 2)).mean().item()}
