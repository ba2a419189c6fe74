"""How much the decoder depends on each token."""

from __future__ import annotations

from harness.evaluation.reconstructed import DROPPED_IMAGES, Reconstructed
from harness.evaluation.records import Value

title = "dropped token"
about = "rise of the squared error if a token is replaced by its mean over the images"
unit = ""
better = ""
digits = 4
splits = ("val",)


def measure(m: Reconstructed) -> Value:
    return Value(m.dropped_errors.mean().item(), min(DROPPED_IMAGES, len(m)))


def protocol(m: Reconstructed) -> str:
    return (
        f"squared error on [-1, 1], mean over pixels and the first N images; each token in turn replaced by its mean "
        f"over all {len(m)}, mean over the L tokens; {m.decoded}"
    )
