"""Similarity of images pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def psnr(errors: Tensor) -> Tensor:
    """Peak signal-to-noise ratios (n,) in dB from mean squared errors (n,) on [-1, 1], a range of 2."""
    return 10 * (4 / errors.clamp(min=1e-10)).log10()


def ssim(images: np.ndarray, others: np.ndarray) -> list[float]:
    """Structural similarity (Wang et al. 2004) of uint8 images (n, 3, H, W), one value per pair."""
    from skimage.metrics import structural_similarity

    return [
        float(
            structural_similarity(
                a, b, channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
        )
        for a, b in zip(images, others, strict=True)
    ]
