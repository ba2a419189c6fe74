"""Structural similarity of the reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np

title = "SSIM"
about = "structural similarity of the reconstructions (Wang et al. 2004)"
unit = ""
better = "higher"
digits = 3
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    values = [value for a, b in m.pairs() for value in of_images(a.numpy(), b.numpy())]
    return Value(sum(values) / len(values), len(values))


def of_images(images: np.ndarray, others: np.ndarray) -> list[float]:
    """One value a pair of uint8 images (n, 3, H, W)."""
    from skimage.metrics import structural_similarity

    return [
        float(
            structural_similarity(
                a, b, channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
        )
        for a, b in zip(images, others, strict=True)
    ]


def protocol(m: Measured) -> str:
    return f"scikit-image, Gaussian window 11 px sigma 1.5, 8-bit RGB, mean over channels and images; {m.decoded}"
