"""Peak signal-to-noise ratio of the reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation.reconstructed import Measured
from harness.evaluation.records import Value

if TYPE_CHECKING:
    from torch import Tensor

title = "PSNR"
about = "peak signal-to-noise ratio of the reconstructions"
unit = "dB"
better = "higher"
digits = 2
splits = ("val", "val_unseen")


def measure(m: Measured) -> Value:
    return Value(of_errors(m.errors).mean().item(), len(m.errors))


def of_errors(errors: Tensor) -> Tensor:
    """In dB, of mean squared errors (n,) on [-1, 1], whose peak is 2."""
    return 10 * (4 / errors.clamp(min=1e-10)).log10()


def protocol(m: Measured) -> str:
    return f"8-bit RGB, per image, then the mean over images; {m.decoded}"
