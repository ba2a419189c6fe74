"""Peak signal-to-noise ratio of the reconstructions."""

from __future__ import annotations

from harness.metrics import Measured, Value

title = "PSNR"
about = "peak signal-to-noise ratio of the reconstructions"
unit = "dB"
better = "higher"
digits = 2
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    # The error is on [-1, 1], whose peak is 2.
    return Value((10 * (4 / m.errors.clamp(min=1e-10)).log10()).mean().item(), len(m.errors))


def protocol(m: Measured) -> str:
    return f"8-bit RGB, per image, then the mean over images; {m.decoded}"
