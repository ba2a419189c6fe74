"""Structural similarity of the reconstructions."""

from __future__ import annotations

from harness.evaluation.pixels import ssim
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "SSIM"
about = "structural similarity of the reconstructions (Wang et al. 2004)"
unit = ""
better = "higher"
digits = 3
bounds = (-1.0, 1.0)
splits = ("val", "val_unseen")


def measure(m: Reconstructed) -> Value:
    values = [value for a, b in m.pairs() for value in ssim(a.numpy(), b.numpy())]
    return Value(sum(values) / len(values), len(values))


def protocol(m: Reconstructed) -> str:
    return f"scikit-image, Gaussian window 11 px sigma 1.5, 8-bit RGB, mean over channels and images; {m.decoded}"
