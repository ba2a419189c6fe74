"""Structural similarity of the reconstructions."""

from __future__ import annotations

from harness.metrics import Measured, Value

title = "SSIM"
about = "structural similarity of the reconstructions (Wang et al. 2004)"
unit = ""
better = "higher"
digits = 3
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    import numpy as np
    from skimage.metrics import structural_similarity

    pairs = zip(m.originals.numpy(), m.reconstructions.numpy(), strict=True)
    values = [
        structural_similarity(
            a, b, channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return Value(float(np.mean(values)), len(values))


def protocol(m: Measured) -> str:
    return f"scikit-image, Gaussian window 11 px sigma 1.5, 8-bit RGB, mean over channels and images; {m.decoded}"
