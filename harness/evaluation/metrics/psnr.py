"""Peak signal-to-noise ratio of the reconstructions."""

from __future__ import annotations

from harness.evaluation.pixels import psnr
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "PSNR"
about = "peak signal-to-noise ratio of the reconstructions"
unit = "dB"
better = "higher"
digits = 2
splits = ("val", "val_unseen")


def measure(m: Reconstructed) -> Value:
    return Value(psnr(m.errors).mean().item(), len(m.errors))


def protocol(m: Reconstructed) -> str:
    return f"8-bit RGB, per image, then the mean over images; {m.decoded}"
